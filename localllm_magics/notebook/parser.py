"""The line of a magic, read with shell quoting."""

import contextlib
import difflib
import io
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from localllm_magics.core.errors import BadOption
from localllm_magics.notebook.options import Option

_CURSOR = "\N{OBJECT REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A line that was read.

    Args:
        values: The values of its options, by name.
        words: Its other words.
        text: The text after them, as it stands.
        open_option: The option at its end whose value is missing.
        error: The first thing that is wrong; the rest was read all the same.
    """

    values: Mapping[str, object] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    text: str = ""
    open_option: Option | None = None
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
            word = lexer.word()
            if word == "--":
                words += [] if takes_text else lexer.words()
                break
            if _is_option(word):
                reader.read(word)
            else:
                words.append(word)
        except BadOption as exc:
            error = error or exc
    return Parsed(
        values=reader.values,
        words=tuple(words),
        text=lexer.rest,
        open_option=reader.open_option,
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
        self._line = line
        self._stream = io.StringIO(line)
        self._shlex = shlex.shlex(self._stream, posix=True)
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
        return not self.at_end and _is_option(self.rest.split(None, 1)[0])

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


class _OptionReader:
    """Reads the options of a line."""

    def __init__(self, line: str, options: Sequence[Option]) -> None:
        self.lexer = _Lexer(line)
        self.values: dict[str, object] = {}
        self.open_option: Option | None = None
        self._by_flag = {flag: option for option in options for flag in option.flags}

    def read(self, word: str) -> None:
        """Read the option that WORD begins; an error leaves the lexer behind its value.

        Raises:
            BadOption: It is unknown, lacks its value, has a wrong one, or was given before.
        """
        flag, equals, value = word.partition("=")
        attached = value if equals else None
        option = self._by_flag.get(flag)
        if option is None:
            if not equals and not self.lexer.at_end and not self.lexer.at_option:
                self.lexer.word()  # probably its value
            raise self._unknown(flag)
        if option.metavar:
            self._store(option, flag, self._value(option, flag, attached))
            return
        self._store(option, flag, True)
        if attached is not None:
            raise BadOption(f"{flag} takes no value.", f"Write {flag} alone.")

    def conflict(self) -> BadOption | None:
        """An error for the first two options that exclude each other, if any."""
        for option in self._by_flag.values():
            for other in option.excludes:
                if option.name in self.values and self._by_flag[other].name in self.values:
                    return BadOption(f"{option.flags[-1]} cannot be used with {other}.", "Leave one of them out.")
        return None

    def _value(self, option: Option, flag: str, attached: str | None) -> object:
        hint = f"Try {flag} {option.example}."
        if attached is None and self.lexer.at_end:
            self.open_option = option
            raise BadOption(f"{flag} needs a value, {option.metavar}.", hint)
        word = self.lexer.word() if attached is None else attached
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

    def _unknown(self, flag: str) -> BadOption:
        known = self._by_flag
        nearest = difflib.get_close_matches(flag, known, 1, 0.5)
        if nearest:
            hint = f"Did you mean {nearest[0]}?"
        else:
            hint = f"Known options: {', '.join(known)}." if known else "Leave it out; this command takes no options."
        return BadOption(f"There is no option {flag}.", hint)
