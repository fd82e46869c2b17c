"""What Tab offers after `%llm` and `%%llm`: never from the network, and of no folder more than a bounded part."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from localllm_magics.catalog.discover import DEMO, ollama_models
from localllm_magics.notebook.commands.registry import COMMANDS, Command
from localllm_magics.notebook.options import ASKING, MODEL, Option, Unfinished, parse_unfinished, quoted
from localllm_magics.session import Session

_LINE = re.compile(r"^\s*(?:[\w.\[\]'\"]+\s*=\s*)?(%{1,2})(?:llm|localllm)\s+(.*)$")
_OPEN_EXPRESSION = re.compile(r"\{\{(?!.*\}\})")
_BEFORE_OTHERS = 100
_SCHEMES = ("ollama:", "openai:", "llamafile:")
_MODEL_FILES = (".gguf", ".llamafile")
_PART = re.compile(r"-\d{5}(-of-\d{5}\.gguf)$", re.IGNORECASE)
_MOST_ENTRIES = 10_000


def new_matcher(session: Session) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """A matcher for IPython's completer that knows commands, options, and models."""

    @context_matcher(identifier="localllm", priority=_BEFORE_OTHERS)  # type: ignore[untyped-decorator] # IPython's decorator has no types
    def localllm_matcher(context: CompletionContext) -> SimpleMatcherResult:
        before = context.text_until_cursor
        found = complete(before, context.line_with_cursor[len(before) :], session)
        if found is None:
            return {"completions": [], "suppress": False}
        typed, words = found
        completions = [SimpleCompletion(word, type="magic") for word in words] or _Nothing()
        return {"completions": completions, "suppress": True, "matched_fragment": typed}

    matcher: Callable[[CompletionContext], SimpleMatcherResult] = localllm_matcher
    return matcher


class _Nothing(list[SimpleCompletion]):
    """No completions; IPython leaves out those of others only where a matcher seems to have some."""

    def __len__(self) -> int:
        return 1


def complete(before: str, after: str, session: Session) -> tuple[str, list[str]] | None:
    """The end of BEFORE that is replaced and what can take its place; None where the line is not ours.

    Args:
        before: The line up to the cursor.
        after: The rest of the line.
        session: What is loaded.
    """
    match = _LINE.match(before)
    if match is None or _OPEN_EXPRESSION.search(match[2]):
        return None
    line = parse_unfinished(match[2])
    if not line.quote and line.typed.endswith("\\") and not line.word.endswith("\\"):
        return line.typed, []  # what the backslash stands before is not typed yet
    flag, equals, value = line.word.partition("=")
    if flag.startswith("-") and equals:
        typed = line.typed.partition("=")[2]
        line = Unfinished(before=(*line.before, flag), word=value, typed=typed, quote=line.quote)
    offers = _after_two_signs(line, session) if match[1] == "%%" else _after_one_sign(line, session)
    fitting = dict.fromkeys(offer for offer in offers if offer.startswith(line.word))
    return line.typed, [_spelled(line, offer, after) for offer in fitting]


def _after_two_signs(line: Unfinished, session: Session) -> Iterable[str]:
    waiting, words = _place(line.before, ASKING)
    if line.word.startswith("-") and not waiting:
        return _flags(ASKING)
    return _models(line.word, session) if waiting in MODEL.flags or not (waiting or words) else ()


def _after_one_sign(line: Unfinished, session: Session) -> Iterable[str]:
    if not line.before:
        return COMMANDS
    command = COMMANDS.get(line.before[0])
    if command is None:
        return ()
    waiting, words = _place(line.before[1:], command.options, takes_text=command.takes_text)
    if waiting in MODEL.flags:
        return _models(line.word, session)
    if waiting or (words and command.takes_text):
        return ()
    if line.word.startswith("-"):
        return _flags(command.options)
    return () if words else _words(command, line.word, session)


def _place(before: Sequence[str], options: Sequence[Option], *, takes_text: bool = False) -> tuple[str, int]:
    """The option whose value comes next, if any, and how many words that are not options came before."""
    with_value = {flag for option in options if option.metavar for flag in option.flags}
    waiting, words = "", 0
    for word in before:
        if takes_text and words:
            break
        if waiting:
            waiting = ""
        elif word in with_value:
            waiting = word
        elif not word.startswith("-"):
            words += 1
    return waiting, words


def _flags(options: Sequence[Option]) -> list[str]:
    return [flag for option in options for flag in option.flags]


def _words(command: Command, word: str, session: Session) -> Iterable[str]:
    if command.name == "help":
        return COMMANDS
    if command.completes == "loaded":
        return [model.info.reference for model in session.models]
    return _models(word, session) if command.completes == "models" else ()


def _models(word: str, session: Session) -> list[str]:
    """Models by name, and files and folders by path."""
    loaded = [model.info.reference for model in session.models]
    stored = [info.reference for info in ollama_models()]
    program = "llamafile:"
    programs = [f"{program}{path}" for path in _paths(word.removeprefix(program))] if word.startswith(program) else []
    return [*loaded, *session.listed, DEMO, *stored, *_SCHEMES, *programs, *_paths(word)]


def _paths(word: str) -> Iterator[str]:
    """Model files and folders whose path begins with WORD; folders not for an empty one, of which there may be many."""
    start = os.path.basename(word)  # noqa: PTH119 - a Path forgets how its parts are separated
    folder = word.removesuffix(start)
    if start in {".", ".."} or word == "~":
        yield f"{word}/"
    parts: set[str] = set()
    for entry in _entries(folder, start):
        path = f"./{entry.name}" if not folder and entry.name.startswith("-") else f"{folder}{entry.name}"
        whole = _PART.sub(r"\1", entry.name)
        if _is_folder(entry):
            yield from [f"{path}/"] if word else []
        elif entry.name.lower().endswith(_MODEL_FILES) and whole not in parts:
            parts.add(whole)
            yield path


def _entries(folder: str, start: str) -> list[os.DirEntry[str]]:
    """What is in FOLDER and begins with START, by name; nothing where it cannot be read."""
    try:
        with os.scandir(os.path.expanduser(folder) or ".") as entries:  # noqa: PTH111 - unlike Path's, it never fails
            found = [entry for entry in islice(entries, _MOST_ENTRIES) if entry.name.startswith(start)]
    except (OSError, ValueError):
        return []
    shown = [entry for entry in found if entry.name.isprintable() and entry.name.startswith(".") == (start[:1] == ".")]
    return sorted(shown, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _spelled(line: Unfinished, offer: str, after: str) -> str:
    """OFFER as it goes on from what is typed, quoted in the same way."""
    rest = offer[len(line.word) :]
    if line.quote:
        end = "" if after.startswith(line.quote) else line.quote
        return f"{line.typed}{_inside(rest, line.quote)}{end}"
    if line.typed == line.word:
        return quoted(offer)
    return f"{line.typed}{quoted(rest) if rest else ''}"


def _inside(text: str, quote: str) -> str:
    """TEXT between quotation marks."""
    if quote == "'":
        return text.replace("'", "'\"'\"'")
    return text if os.name == "nt" else re.sub(r'(["\\])', r"\\\1", text)
