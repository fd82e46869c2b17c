"""Reasoning that only has an end: the prompt began it, and the server did not part it from the answer."""

import re

_END = re.compile(r"</(?:\w+:)?think(?:ing)?>|\[/THINK\]|◁/think▷")
_STARTS = ("<think", "[THINK]", "◁think▷")
# Not a mark that a sentence speaks about: it follows a sentence or a line, and something is said behind it.
_BEFORE = re.compile(r"(?:\A|\n|[^\s`'\"“‘«(\[]|[^\d\s][.!?…]\s+)\Z")
_BEHIND = re.compile(r"(?![`'\"”’»)\],.;:]).*\w", re.DOTALL)


def part(text: str) -> tuple[str, str]:
    """The reasoning and the answer in TEXT; without such reasoning all of it is answer."""
    end = _END.search(text)
    if end is None:
        return "", text
    before, behind = text[: end.start()], text[end.end() :]
    is_quoted = before.count("`") % 2 or before.count("~~~") % 2 or any(start in before for start in _STARTS)
    if is_quoted or not _BEFORE.search(before[-8:]) or not _BEHIND.match(behind):
        return "", text
    return before, behind.lstrip()
