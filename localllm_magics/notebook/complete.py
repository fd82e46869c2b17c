"""What Tab offers after `%llm` and `%%llm`."""

import os
import re
from collections.abc import Callable, Iterable
from itertools import islice

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from localllm_magics.notebook.commands.ask import CELL
from localllm_magics.notebook.commands.command import Command
from localllm_magics.notebook.commands.registry import COMMANDS
from localllm_magics.notebook.parser import Parsed, Unfinished, parse_unfinished, quoted
from localllm_magics.session import Session

_LINE = re.compile(r"^\s*(?:[\w.\[\]'\"]+\s*=\s*)?(%{1,2})(?:llm|localllm)\s+(.*)$")
_OPEN_EXPRESSION = re.compile(r"\{\{(?!.*\}\})")
_BEFORE_OTHERS = 100
MOST_OFFERED = 200
"""Words for one Tab; a few more letters bring the others."""


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
    command, line = _command(match[1], match[2])
    unfinished = _after_equals_sign(parse_unfinished(line))
    is_escaping = not unfinished.quote and unfinished.typed.endswith("\\") and not unfinished.word.endswith("\\")
    if command is None or is_escaping:  # what the backslash escapes is not typed yet
        return unfinished.typed, []
    words = dict.fromkeys(word for word in _words(command, unfinished, session) if word.startswith(unfinished.word))
    return unfinished.typed, [_spelled(unfinished, word, after) for word in islice(words, MOST_OFFERED)]


def _command(magic: str, line: str) -> tuple[Command | None, str]:
    """The command of a line, and what follows its name; None if there is no such command."""
    if magic == "%%":
        return CELL, line
    name, blank, rest = line.partition(" ")
    if not blank:
        return COMMANDS["help"], line  # its word is the name of a command, too
    return COMMANDS.get(name), rest


def _after_equals_sign(line: Unfinished) -> Unfinished:
    """LINE with the value of `--flag=value` as a word of its own."""
    flag, equals, value = line.word.partition("=")
    if not (flag.startswith("-") and equals):
        return line
    typed = line.typed.partition("=")[2]
    return Unfinished(before=f"{line.before}{flag}", word=value, typed=typed, quote=line.quote)


def _words(command: Command, line: Unfinished, session: Session) -> Iterable[str]:
    """What can stand at the cursor."""
    before = command.parse(line.before)
    option = before.open_option
    values = () if option is None else option.completes(line.word, session)
    if option is not None and option.alone is None:
        return values
    return [*values, *_other_words(command, before, line.word, session)]


def _other_words(command: Command, before: Parsed, word: str, session: Session) -> Iterable[str]:
    """What can stand there and is not the value of an option."""
    if before.text:
        return ()
    if word.startswith("-"):
        return [flag for option in command.all_options for flag in option.flags]
    return () if before.words else command.completes(word, session)


def _spelled(line: Unfinished, word: str, after: str) -> str:
    """WORD as it goes on from what is typed, quoted in the same way."""
    rest = word[len(line.word) :]
    if line.quote:
        end = "" if after.startswith(line.quote) else line.quote
        return f"{line.typed}{_inside(rest, line.quote)}{end}"
    if line.typed == line.word:
        return quoted(word)
    return f"{line.typed}{quoted(rest) if rest else ''}"


def _inside(text: str, quote: str) -> str:
    """TEXT between quotation marks."""
    if quote == "'":
        return text.replace("'", "'\"'\"'")
    return text if os.name == "nt" else re.sub(r'(["\\])', r"\\\1", text)
