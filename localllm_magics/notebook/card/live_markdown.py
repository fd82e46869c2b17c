"""The text of an answer that is not complete yet, as Markdown."""

import re

from localllm_magics.core.presentation import to_safe_markdown

# A part ends at a blank line before a line that is not indented, unless it has an open block.
_PART = re.compile(r"\n\n+(?=\S)")
_FENCE = re.compile(r"^(?:[ \t>]|[-*+] |\d+[.)] )*(?:```|~~~)", re.MULTILINE)
_PAIRS = (("\\[", "\\]"), ("\\begin{", "\\end{"))
# The beginning of a rule, a heading or a row of a table would be drawn as something else first.
_UNFINISHED_LINE = re.compile(r"\n[ \t]*(?:\|[^\n]*|[-=+*#>`~$ \t]*)\Z")


class LiveMarkdown:
    """Makes a growing text safe to show; the parts that have ended only once."""

    def __init__(self) -> None:
        self._ended = 0
        self._safe: list[str] = []

    def of(self, text: str) -> str:
        """TEXT, which begins with the text before, as safe Markdown without an unfinished last line."""
        ends = list(_PART.finditer(text, self._ended))
        if ends and _is_closed(part := text[self._ended : ends[-1].start()]):
            self._safe.append(to_safe_markdown(part))
            self._ended = ends[-1].end()
        rest = _UNFINISHED_LINE.sub("", text[self._ended :])
        return "\n\n".join(filter(None, [*self._safe, to_safe_markdown(rest)]))


def _is_closed(part: str) -> bool:
    """Whether PART has as many ends of blocks as beginnings."""
    is_even = all(count % 2 == 0 for count in (part.count("$$"), len(_FENCE.findall(part))))
    return is_even and all(part.count(opening) == part.count(closing) for opening, closing in _PAIRS)
