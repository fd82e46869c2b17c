"""The options of all commands, declared once: parsing, help, completion and documentation follow from here."""

import contextlib
import difflib
import io
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from localllm_magics.core.errors import BadOption
from localllm_magics.core.request import LOAD_EXAMPLES
from localllm_magics.core.sampling import SAMPLING_OPTIONS

_NO_RAISE = "--no-raise"
_CURSOR = "\N{OBJECT REPLACEMENT CHARACTER}"
_ESCAPES = {r"\n": "\n", r"\t": "\t", r"\r": "\r", r"\\": "\\"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of a magic.

    Args:
        flags: How it is typed, the long name last.
        help: What it does, in a few words.
        metavar: Name of its value, empty for a switch.
        convert: Makes the value from a word; raises ValueError.
        example: A value that works, for the error message.
        repeats: Whether it may be given several times.
    """

    flags: tuple[str, ...]
    help: str
    metavar: str = ""
    convert: Callable[[str], object] = str
    example: str = ""
    repeats: bool = False

    @property
    def name(self) -> str:
        """The long name as a Python identifier."""
        return self.flags[-1].lstrip("-").replace("-", "_")

    @property
    def usage(self) -> str:
        """How it is typed, with its value."""
        return f"{', '.join(self.flags)} {self.metavar}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What a line says: option values by name, other words, and the text after them."""

    values: Mapping[str, object] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    text: str = ""

    def get(self, name: str) -> object:
        """The value of an option, None where it was not given."""
        return self.values.get(name)


def _layers(word: str) -> int | str:
    return word if word in ("auto", "all") else int(word)


def _unescaped(word: str) -> str:
    r"""WORD with \n, \t, \r and \\ as the characters that they stand for in Python."""
    return re.sub(r"\\[ntr\\]", lambda escape: _ESCAPES[escape[0]], word)


MODEL = Option(flags=("-m", "--model"), metavar="REF", help="the model; see %llm models", example="demo")
SAMPLING = tuple(
    Option(
        flags=row.flags,
        metavar=row.metavar,
        convert=_unescaped if row.type is str else row.type,
        example=row.example,
        repeats=row.type is str,
        help=row.help,
    )
    for row in SAMPLING_OPTIONS
)
LOADING = (
    Option(flags=("--ctx",), metavar="N", convert=int, example=LOAD_EXAMPLES["ctx"], help="context size in tokens"),
    Option(
        flags=("--gpu-layers",),
        metavar="N|auto|all",
        convert=_layers,
        example=LOAD_EXAMPLES["gpu_layers"],
        help="how many layers to put on a GPU",
    ),
    Option(flags=("--threads",), metavar="N", convert=int, example=LOAD_EXAMPLES["threads"], help="CPU threads"),
)
CLEANING = (Option(flags=("--clean",), help="remove weights that were copied out of llamafiles, and old logs"),)
ASKING = (
    MODEL,
    Option(flags=("-o", "--out"), metavar="NAME", example="answer", help="store the completion in this variable"),
    Option(flags=("-s", "--system"), metavar="TEXT", example='"Be brief."', help="the system prompt"),
    *SAMPLING,
    Option(flags=("--raw",), help="no chat template: continue the text"),
    Option(flags=("--no-vars",), help="leave {{ expr }} as it is"),
    Option(flags=("--dry-run",), help="show the exact prompt and its tokens, generate nothing"),
    Option(flags=("--code",), help="put the first code block of the answer into the next cell"),
    Option(flags=("-b", "--background"), help="return at once; the card fills while the kernel is free"),
    *LOADING,
    Option(flags=("--think",), help="let a reasoning model reason"),
    Option(flags=("--no-think",), help="let a reasoning model answer at once"),
    Option(flags=(_NO_RAISE,), help="show an error without failing the cell"),
)


def parse(line: str, options: Sequence[Option], *, takes_text: bool = False) -> Parsed:
    """Read LINE with shell quoting.

    Args:
        line: What stands after the name of the command.
        options: Those that it knows.
        takes_text: The first word that is not an option begins a text, which is taken as it stands.

    Raises:
        BadOption: An option is unknown, lacks its value, or has a wrong one.
    """
    by_flag = {flag: option for option in options for flag in option.flags}
    values: dict[str, object] = {}
    words: list[str] = []
    lexer = _Lexer(line)
    while not lexer.at_end:
        if takes_text and not lexer.at_option:
            break
        word = lexer.word()
        if word == "--":
            words += [] if takes_text else lexer.words()
            break
        if not _is_option(word):
            words.append(word)
            continue
        flag, equals, value = word.partition("=")
        option = by_flag.get(flag)
        if option is None:
            raise _unknown(flag, by_flag)
        _store(values, option, flag, _value(option, flag, value if equals else None, lexer))
    return Parsed(values=values, words=tuple(words), text=lexer.rest if takes_text else "")


def asks_not_to_raise(line: str, options: Sequence[Option], *, takes_text: bool = False) -> bool:
    """Whether --no-raise is among the options of LINE, also where `parse` refuses the line."""
    by_flag = {flag: option for option in options for flag in option.flags}
    if _NO_RAISE not in by_flag:
        return False
    lexer = _Lexer(line)
    try:
        while not lexer.at_end and (lexer.at_option or not takes_text):
            flag, equals, _ = lexer.word().partition("=")
            if flag in (_NO_RAISE, "--"):
                return flag == _NO_RAISE
            if _is_option(flag) and not equals:
                _skip_value(by_flag.get(flag), lexer)
    except BadOption:
        pass  # the rest stands in an open quotation
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A line that ends at the cursor.

    Args:
        before: The words that are complete.
        word: The one at the cursor, empty after a blank.
        typed: WORD as it is typed, with its quotation marks.
        quote: The quotation mark that is open in it, if any.
    """

    before: tuple[str, ...]
    word: str
    typed: str
    quote: str


def parse_unfinished(line: str) -> Unfinished:
    """The words of LINE, of which the last one may be unfinished."""
    with contextlib.suppress(BadOption):
        return _unfinished(line, "")
    with contextlib.suppress(BadOption):
        return _unfinished(line, '"')
    return _unfinished(line, "'")


def quoted(text: str) -> str:
    """TEXT as one word of a line."""
    with contextlib.suppress(BadOption):
        if _Lexer(text).words() == [text]:
            return text
    return shlex.quote(text)


def _unfinished(line: str, quote: str) -> Unfinished:
    lexer = _Lexer(f"{line}{_CURSOR}{quote}")
    words: list[str] = []
    start = 0
    while not lexer.at_end:
        start = lexer.position
        words.append(lexer.word())
    *before, last = words
    typed = line[start:].lstrip()
    return Unfinished(before=tuple(before), word=last.removesuffix(_CURSOR), typed=typed, quote=quote)


def _skip_value(option: Option | None, lexer: "_Lexer") -> None:
    """Pass over the value of OPTION; an unknown one has the next word for its value unless that is an option."""
    if lexer.at_end or (lexer.at_option if option is None else not option.metavar):
        return
    lexer.word()


class _Lexer:
    """Words of a line by shell rules, and what is left of it as it stands."""

    def __init__(self, line: str) -> None:
        self._line = line
        self._stream = io.StringIO(line)
        self._shlex = shlex.shlex(self._stream, posix=True, punctuation_chars="")
        self._shlex.whitespace_split = True
        self._shlex.commenters = ""
        if os.name == "nt":
            self._shlex.escape = ""  # a backslash is part of a path there

    @property
    def position(self) -> int:
        return self._stream.tell()

    @property
    def rest(self) -> str:
        return self._line[self.position :].strip()

    @property
    def at_end(self) -> bool:
        return not self.rest

    @property
    def at_option(self) -> bool:
        return _is_option(self.rest.split(None, 1)[0])

    def word(self) -> str:
        try:
            return self._shlex.get_token() or ""
        except ValueError as exc:
            raise BadOption(f"A quotation mark is not closed: {self._line.strip()}", "Add the second one.") from exc

    def words(self) -> list[str]:
        words = []
        while not self.at_end:
            words.append(self.word())
        return words


def _is_option(word: str) -> bool:
    """Whether WORD is an option and not a negative number or a dash."""
    return bool(re.match(r"-{1,2}[A-Za-z]|--$", word))


def _value(option: Option, flag: str, attached: str | None, lexer: _Lexer) -> object:
    if not option.metavar:
        if attached is not None:
            raise BadOption(f"{flag} takes no value.", f"Write {flag} alone.")
        return True
    hint = f"Try {flag} {option.example}."
    if attached is None and lexer.at_end:
        raise BadOption(f"{flag} needs a value, {option.metavar}.", hint)
    word = lexer.word() if attached is None else attached
    try:
        return option.convert(word)
    except ValueError as exc:
        raise BadOption(f"{flag} cannot be {word!r}.", hint) from exc


def _store(values: dict[str, object], option: Option, flag: str, value: object) -> None:
    if option.repeats:
        before = values.get(option.name, ())
        assert isinstance(before, tuple)  # noqa: S101 - only this line writes it
        values[option.name] = (*before, value)
    elif option.name in values:
        raise BadOption(f"{flag} is given twice.", "Leave one out.")
    else:
        values[option.name] = value


def _unknown(flag: str, known: Mapping[str, Option]) -> BadOption:
    nearest = difflib.get_close_matches(flag, known, 1, 0.5)
    if nearest:
        hint = f"Did you mean {nearest[0]}?"
    else:
        hint = f"Known options: {', '.join(known)}." if known else "Leave it out; this command takes no options."
    return BadOption(f"There is no option {flag}.", hint)
