"""Control characters, which a terminal or a notebook would act on."""

import re

_ESCAPE_SEQUENCE = r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]"
# Control characters, those that reverse the reading order, and lone surrogates.
_INVISIBLE = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
_CONTROL = re.compile(rf"{_ESCAPE_SEQUENCE}|{_INVISIBLE}")
# JavaScript's regular expressions, and so JupyterLab, end a line at the last two.
_LINE_END = re.compile("\r\n?|[\u2028\u2029]")


def strip_control(text: str) -> str:
    """The text without terminal sequences, control characters and those that reverse the reading order."""
    return _CONTROL.sub("", _LINE_END.sub("\n", text))


def to_printable(text: str) -> str:
    """TEXT on one line, with escapes for what nobody can type and no front end can show: that of a file name."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
