"""What stands between the marks of a formula and is none: prices, words, cells of a table, code, escaped brackets."""

import re
from itertools import accumulate

# An escaped dollar in a formula; after two backslashes, parsers disagree on whether it is one.
ESCAPED_DOLLAR = r"(?<=[^\\]\\)\$"
_SIGN_OF_TEXT = re.compile(
    r"""
    \A[^()]*\).*\([^()]*\Z                      # of (US$) and (US$), what is between
  | (?<![\^{*])\*\*                             # emphasis
  | </[A-Za-z]+> | <[A-Za-z]{2,}[ \t]*/?>       # a tag
  | \A\s*/                                      # $/unit, or a pattern of sed
  | \A[^\\]*?(?:(?<=[\s(=,])|(?<=\A))['"]       # a quote mark, which is not a prime
    """,
    re.VERBOSE | re.DOTALL,
)
_BRACE = re.compile(r"\\.|(?P<opens>\{)|(?P<closes>\})")
_IN_BRACKETS = re.compile(r"[({\[][^(){}\[\]]*[)}\]]")
_NUMBER = r"\d(?:[\d.,]*\d)?"
_PRICE = re.compile(rf"\s*{_NUMBER}[kKMB]?[^\w$`\\}}!]+")
_PRICE_FOLLOWS = re.compile(r"[\w\\(]|[ ]\d")
_PRICE_PRECEDES = re.compile(r"\d[ ]?\Z")
_NEXT_PRICE = re.compile(rf"[^\w$`\\]+{_NUMBER}\s*")
# The words of a formula stand in a command such as \text.
_COMMAND = re.compile(r"\\[A-Za-z]+(?:[ ]*\{[^{}\\]*\})?")
_SHORT_WORD = re.compile(r"\s*[^\W\d_]{1,3}\s*")
_LETTER = re.compile(r"\w")
_WORD = re.compile(r"[^\W\d_]{2}")
_NUMBERS = re.compile(r"\s*(?:\d+(?:[\s,;–-]+\d+)*\s*)?")
_WORDS = re.compile(r"(?:[^\W_]|[\s,.;:!?'’]|(?<=[^\W_])-(?=[^\W_]))+")


def is_text_in_dollars(found: re.Match[str], tex: str) -> bool:
    """Whether TEX, between the dollars that were found, belongs to the text around them."""
    return bool(
        _SIGN_OF_TEXT.search(tex)
        or not _is_balanced(tex)
        or _spans_cells(found, tex)
        or _is_between_prices(found, tex)
        or (r"\$" in tex and (has_words(tex) or _LETTER.match(found.string, found.end())))
    )


def has_words(tex: str) -> bool:
    """Whether TEX has words outside its commands."""
    return bool(_WORD.search(_COMMAND.sub("", tex)))


def is_text_in_square_brackets(tex: str, after: str) -> bool:
    r"""Whether TEX, between `\[` and `\]` in a text, is a note, a reference or the text of a link."""
    return after.startswith("(") or bool(_NUMBERS.fullmatch(tex)) or _is_words(tex)


def is_text_in_round_brackets(tex: str, before: str) -> bool:
    r"""Whether TEX, between `\(` and `\)`, is a remark or the argument of a function."""
    is_call = before.isascii() and (before.isalpha() or before == "_")
    # A short word alone is a product or a segment.
    return is_call or not tex.strip() or (_is_words(tex) and not _SHORT_WORD.fullmatch(tex))


def _is_words(tex: str) -> bool:
    return bool(_WORDS.fullmatch(tex) and _WORD.search(tex))


def _is_balanced(tex: str) -> bool:
    depths = list(accumulate(bool(brace["opens"]) - bool(brace["closes"]) for brace in _BRACE.finditer(tex)))
    return not depths or (min(depths) >= 0 and depths[-1] == 0)


def _spans_cells(found: re.Match[str], tex: str) -> bool:
    return " | " in _IN_BRACKETS.sub("", tex) and found.string.find("|", 0, found.start()) >= 0


def _is_between_prices(found: re.Match[str], tex: str) -> bool:
    """Whether the dollars are of two prices, before or behind their numbers."""
    if _PRICE_PRECEDES.search(found.string[max(0, found.start() - 2) : found.start()]):
        return bool(_NEXT_PRICE.fullmatch(tex))
    return bool(_PRICE.fullmatch(tex) and _PRICE_FOLLOWS.match(found.string, found.end()))
