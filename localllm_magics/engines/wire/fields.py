"""Values out of untrusted JSON: one of another type counts as missing."""

from collections.abc import Mapping
from typing import TypeAlias

Json: TypeAlias = Mapping[str, object]
_LARGEST = 2**63
_LONGEST_WORD = 200


def text(document: Json, *names: str) -> str | None:
    """The first of NAMES that is a text and not empty; lone surrogates become U+FFFD."""
    found = raw_text(document, *names)
    return None if found is None else valid_text(found)


def raw_text(document: Json, *names: str) -> str | None:
    """The same, with lone surrogates as they are."""
    return next((found for name in names if (found := document.get(name)) and isinstance(found, str)), None)


def valid_text(raw: str) -> str:
    """RAW, in which pairs of surrogates become characters, and lone ones U+FFFD."""
    return raw if raw.isascii() else raw.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def word(document: Json, *names: str) -> str | None:
    """A text that can be shown as it is: a short one without control characters."""
    found = text(document, *names)
    return found if found is not None and found.isprintable() and len(found) <= _LONGEST_WORD else None


def whole(document: Json, name: str) -> int | None:
    """A whole number of 0 or more, of at most 63 bits; some write 3 as 3.0."""
    found = number(document, name)
    return None if found is None or found % 1 else int(document[name])  # type: ignore[call-overload] # a number


def number(document: Json, name: str) -> float | None:
    """A number of 0 or more, within the same bounds."""
    value = document.get(name)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < _LARGEST else None  # type: ignore[operator,arg-type] # checked


def child(document: Json, name: str) -> Json:
    """An object, empty where there is none."""
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def children(document: Json, name: str) -> list[Json]:
    """The objects of a list."""
    value = document.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
