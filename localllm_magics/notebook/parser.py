"""The line of a magic, read with shell quoting."""

import contextlib
import difflib
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from localllm_magics.core.errors import BadOption
from localllm_magics.notebook.options import HELP, OTHER_NAMES, Option

_CURSOR = "\N{OBJECT REPLACEMENT CHARACTER}"
_MODEL_FILE = re.compile(r"\.(gguf|llamafile)$", re.IGNORECASE)
_SURE = 0.8  # likeness of a name to that of another program's option, of which there are many
_BLANKS = r" \t\r\n"
# A backslash is part of a path on Windows. Elsewhere it escapes what has a meaning, so that such paths can be read.
_ESCAPES = os.name != "nt"
_ESCAPED = rf"""\\[{_BLANKS}"'\\]""" if _ESCAPES else "(?!)"
_QUOTED = r"""'[^']*'|"(?:\\.|[^"\\])*\"""" if _ESCAPES else r"""'[^']*'|"[^"]*\""""
_PIECE = re.compile(f"{_QUOTED}|{_ESCAPED}", re.DOTALL)
_WORD = re.compile(rf"""[{_BLANKS}]*(?P<word>(?:{_PIECE.pattern}|[^{_BLANKS}"'])*)(?P<open>["']?)""", re.DOTALL)
# The name of a share on Windows begins with two backslashes, also where one escapes another.
_SHARE = re.compile(r'"?\\\\[\w.-]{2,}\\\w')
_PASTED_DASHES = re.compile(r"\A[\u2010-\u2015\u2212]{1,2}(?=(?P<long>[A-Za-z]{2})|[A-Za-z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A line that was read.

    Args:
        values: The values of its options, by name.
        words: Its other words.
        text: The text after them, as it stands.
        open_option: The option at its end whose value is missing.
        quoting_hint: What to type where the words after an option's text were meant to belong to it; else empty.
        error: The first thing that is wrong; the rest was read all the same.
    """

    values: Mapping[str, object] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    text: str = ""
    open_option: Option | None = None
    quoting_hint: str = ""
    error: BadOption | None = None

    def select(self, options: Sequence[Option]) -> dict[str, object]:
        """The values of those of OPTIONS that were given."""
        return {option.name: self.values[option.name] for option in options if option.name in self.values}


def parse(line: str, options: Sequence[Option], *, takes_text: bool = False) -> Parsed:
    """Read LINE with shell quoting; what is wrong with it is in the result.

    Args:
        line: What stands after the name of the command.
        options: Those that it knows.
        takes_text: The first word that is not an option begins a text, which is taken as it stands.
    """
    reader = _OptionReader(line, options)
    lexer = reader.lexer
    words: list[str] = []
    error: BadOption | None = None
    while not lexer.at_end and (lexer.at_option or not takes_text):
        try:
            word = _with_ascii_dashes(lexer.word())
            if word == "--":
                words += [] if takes_text else lexer.words()
                break
            if _is_option(word):
                reader.read(word)
            else:
                words.append(word)
                reader.extend_text(word)
        except BadOption as exc:
            error = error or exc
    return Parsed(
        values=reader.values,
        words=tuple(words),
        text=lexer.rest,
        open_option=reader.open_option,
        quoting_hint=reader.quoting_hint,
        error=error or reader.conflict(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A line that ends at the cursor.

    Args:
        before: The complete words, as they are typed.
        word: The one at the cursor, empty after a blank.
        typed: WORD as it is typed, with its quotation marks.
        quote: The quotation mark that is open in it, if any.
    """

    before: str
    word: str
    typed: str
    quote: str


def parse_unfinished(line: str) -> Unfinished:
    """LINE, whose last word may be unfinished."""
    for quote in ("", '"'):
        with contextlib.suppress(BadOption):
            return _unfinished(line, quote)
    return _unfinished(line, "'")


def quoted(text: str) -> str:
    """TEXT as one word of a line."""
    with contextlib.suppress(BadOption):
        if _Lexer(text).words() == [text]:
            return text
    return shlex.quote(text)


def _unfinished(line: str, quote: str) -> Unfinished:
    lexer = _Lexer(f"{line}{_CURSOR}{quote}")
    word, start = "", 0
    while not lexer.at_end:
        start = lexer.position
        word = lexer.word()
    typed = line[start:].lstrip()
    before = line.removesuffix(typed)
    return Unfinished(before=before, word=word.removesuffix(_CURSOR), typed=typed, quote=quote)


class _Lexer:
    """Words of a line by shell rules, and what is left of it as it stands."""

    def __init__(self, line: str) -> None:
        self.position = 0
        self._line = line

    @property
    def rest(self) -> str:
        return self._line[self.position :].strip()

    @property
    def at_end(self) -> bool:
        return not self.rest

    @property
    def at_option(self) -> bool:
        return not self.at_end and _is_option(self.rest.split(None, 1)[0])

    def word(self) -> str:
        typed = _WORD.match(self._line, self.position)
        assert typed is not None  # noqa: S101 - the pattern matches the empty text too
        self.position = typed.end()
        if typed["open"]:
            self.position = len(self._line)
            hint = "Add the second one. A text with an apostrophe goes into double quotes."
            raise BadOption(f"A quotation mark is not closed: {self._line.strip()}", hint)
        word = _PIECE.sub(lambda piece: _without_quotes(piece[0]), typed["word"])
        return f"\\{word}" if _ESCAPES and _SHARE.match(typed["word"]) else word

    def words(self) -> list[str]:
        words = []
        while not self.at_end:
            words.append(self.word())
        return words


def _without_quotes(piece: str) -> str:
    if piece[0] == "\\":
        return piece[1:]
    inside = piece[1:-1]
    return inside if piece[0] == "'" or not _ESCAPES else re.sub(r'\\(["\\])', r"\1", inside)


def _is_option(word: str) -> bool:
    """Whether WORD is an option and not a negative number or a dash."""
    return bool(re.match(r"-{1,2}[A-Za-z]|--$", word))


def _with_ascii_dashes(word: str) -> str:
    """WORD, an option whose dashes a word processor has replaced, as it was typed."""
    return _PASTED_DASHES.sub(lambda dashes: "--" if dashes["long"] else "-", word)


class _OptionReader:
    """Reads the options of a line."""

    def __init__(self, line: str, options: Sequence[Option]) -> None:
        self.lexer = _Lexer(line)
        self.values: dict[str, object] = {}
        self.open_option: Option | None = None
        self._unquoted: list[list[str]] = []  # a text's flag, its one word, and the words after it
        self._by_flag = {flag: option for option in options for flag in option.flags}

    def read(self, word: str) -> None:
        """Read the option that WORD begins; an error leaves the lexer behind its value.

        Raises:
            BadOption: It is unknown, lacks its value, has a wrong one, or was given before.
        """
        option, flag, attached = self._recognize(word)
        if option.alone is not None and attached is None:
            self._store(option, flag, self._optional_value(option))
            return
        if option.metavar:
            self._store(option, flag, self._value(option, flag, attached))
            return
        self._unquoted.append([""])
        self._store(option, flag, True)
        if attached is not None and word.startswith(f"{flag}="):
            raise BadOption(f"{flag} takes no value.", f"Write {flag} alone.")
        if attached is not None:
            self.read(f"-{attached}")  # of `-bn5`

    def _recognize(self, word: str) -> tuple[Option, str, str | None]:
        """The option of WORD, its flag, and what is attached to it."""
        flag, equals, value = word.partition("=")
        attached = value if equals else None
        if flag in self._by_flag:
            return self._by_flag[flag], flag, attached
        # `-n5`, and not a long name with one dash too few, such as `-ngl`
        if word[:2] in self._by_flag and not self._meant(flag, 0.75):
            return self._by_flag[word[:2]], word[:2], word[2:]
        option = self._by_beginning(flag, has_value=attached is not None)
        return option, option.flags[-1], attached

    def extend_text(self, word: str) -> None:
        """WORD, which is no option, may belong to the text of the last one."""
        if self._unquoted:
            self._unquoted[-1].append(word)

    @property
    def quoting_hint(self) -> str:
        """See `Parsed`."""
        found = next((words for words in self._unquoted if words[0] and len(words) > 2), None)
        return f'A text of several words goes into quotation marks: {found[0]} "{" ".join(found[1:])}"' if found else ""

    def conflict(self) -> BadOption | None:
        """An error for the first two options that exclude each other, if any."""
        for option in self._by_flag.values():
            for other in option.excludes:
                if option.name in self.values and self._by_flag[other].name in self.values:
                    return BadOption(f"{option.flags[-1]} cannot be used with {other}.", "Leave one of them out.")
        return None

    def _optional_value(self, option: Option) -> object:
        """The next word, if it can be the value of OPTION."""
        self._unquoted.append([""])
        position = self.lexer.position
        self.open_option = option if self.lexer.at_end else None
        try:
            return option.convert(self.lexer.word())
        except (ValueError, BadOption):
            self.lexer.position = position
            return option.alone

    def _value(self, option: Option, flag: str, attached: str | None) -> object:
        hint = f"Try {flag} {option.example}."
        if attached is None and self.lexer.at_end:
            self.open_option = option
            raise BadOption(f"{flag} needs a value, {option.metavar}.", hint)
        is_text = option.metavar == "TEXT" and (attached is not None or self.lexer.rest[0] not in "\"'")
        word = self.lexer.word() if attached is None else attached
        self._unquoted.append([flag if is_text and " " not in word else "", word])
        try:
            return option.convert(word)
        except ValueError as exc:
            raise BadOption(f"{flag} cannot be {word!r}.", hint) from exc

    def _store(self, option: Option, flag: str, value: object) -> None:
        if option.repeats:
            before = self.values.get(option.name, ())
            assert isinstance(before, tuple)  # noqa: S101 - only this line writes it
            self.values[option.name] = (*before, value)
        elif option.name in self.values:
            raise BadOption(f"{flag} is given twice.", "Leave one out.")
        else:
            self.values[option.name] = value

    def _by_beginning(self, flag: str, *, has_value: bool) -> Option:
        """The only option whose long name begins so."""
        found = [long for long in self._by_flag if flag[:2] == "--" and long.startswith(flag)]
        if len(found) == 1:
            return self._by_flag[found[0]]
        if not has_value and not self.lexer.at_end and not self.lexer.at_option:
            self.lexer.word()  # probably its value
        raise self._unknown(flag, found)

    def _unknown(self, flag: str, found: Sequence[str]) -> BadOption:
        if found:
            return BadOption(f"{flag} can mean {' or '.join(found)}.", "Write one of them.")
        known = ", ".join(known for known in self._by_flag if known not in HELP.flags)
        otherwise = f"Known options: {known}." if known else "Leave it out; this command takes no options."
        if _MODEL_FILE.search(flag):
            return BadOption(f"There is no option {flag}.", f"If it is a file, write ./{flag}")
        return BadOption(f"There is no option {flag}.", self._meant(flag, 0.6) or otherwise)

    def _meant(self, flag: str, likeness: float) -> str:
        """A hint at the option that FLAG, a name with an error or of another program, means; empty if none is near."""
        name, names = flag.lstrip("-").replace("_", "-").lower(), self._names
        meant = names.get(name, "")
        if not meant:
            begun = {names[known] for known in names if len(name) > 1 and known.startswith(name)}
            near = difflib.get_close_matches(name, self._own_names, 1, likeness)
            near = near or difflib.get_close_matches(name, names, 1, _SURE)
            meant = begun.pop() if len(begun) == 1 else "".join(map(names.__getitem__, near))
        return f"Did you mean {meant}?" if meant[:1] == "-" else meant

    @property
    def _own_names(self) -> dict[str, str]:
        """Each option by its names without dashes."""
        return {flag.lstrip("-"): flag for flag in self._by_flag}

    @property
    def _names(self) -> dict[str, str]:
        """What can be meant by each name without its dashes: an option, or something else to do."""
        others = {name: way for name, way in OTHER_NAMES.items() if way in self._by_flag or way[0] != "-"}
        return others | self._own_names
