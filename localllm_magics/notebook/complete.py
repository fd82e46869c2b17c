"""What Tab offers after `%llm` and `%%llm`."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from localllm_magics.catalog.discover import DEMO, model_files, ollama_models
from localllm_magics.notebook.commands import COMMANDS
from localllm_magics.notebook.options import ASKING, Option
from localllm_magics.session import Session

_LINE = re.compile(r"^\s*(?:[\w.]+\s*=\s*)?(%{1,2})(?:llm|localllm)\s+(.*)$")
_LAST_WORD = re.compile(r"\S*$")
_TAKES_MODEL = {"-m", "--model"}


def new_matcher(session: Session) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """A matcher for IPython's completer that knows commands, options, and models."""

    @context_matcher(identifier="localllm")  # type: ignore[untyped-decorator] # IPython's decorator has no types
    def localllm_matcher(context: CompletionContext) -> SimpleMatcherResult:
        found = offers(context.line_with_cursor, session)
        typed = _LAST_WORD.search(context.line_with_cursor)[0]  # type: ignore[index] # an empty word is one too
        # IPython cuts a reference like openai:MODEL@URL into two words, and replaces the second.
        kept = len(typed) - len(context.token)
        completions = [SimpleCompletion(word[kept:], type="magic") for word in found if word.startswith(typed)]
        return {"completions": completions, "suppress": bool(completions)}

    matcher: Callable[[CompletionContext], SimpleMatcherResult] = localllm_matcher
    return matcher


def offers(line: str, session: Session) -> list[str]:
    """Everything that can come next in LINE, which ends at the cursor."""
    match = _LINE.match(line)
    if match is None:
        return []
    words = match[2].split()
    last = "" if match[2].endswith(" ") or not words else words.pop()
    if match[1] == "%%":
        return _arguments(words, last, ASKING, "models", session)
    if not words:
        return sorted(COMMANDS)
    command = COMMANDS.get(words[0])
    return [] if command is None else _arguments(words[1:], last, command.options, command.completes, session)


def _arguments(
    before: Sequence[str], last: str, options: Sequence[Option], completes: str, session: Session
) -> list[str]:
    if last.startswith("-"):
        return sorted(flag for option in options for flag in option.flags)
    previous = before[-1] if before else ""
    if previous in _TAKES_MODEL:
        return _references(session)
    if any(option.metavar and previous in option.flags for option in options):
        return []
    if completes == "loaded":
        return [model.info.reference for model in session.models]
    return _references(session) if completes == "models" else []


def _references(session: Session) -> list[str]:
    """Models by name, without opening their files."""
    folder = Path.cwd()
    files = [path.name for path in (*model_files(folder), *folder.glob("*.llamafile"))]
    stored = [info.reference for info in ollama_models()]
    loaded = [model.info.reference for model in session.models]
    return list(dict.fromkeys([*loaded, *session.listed, DEMO, *files, *stored, "ollama:", "openai:", "llamafile:"]))
