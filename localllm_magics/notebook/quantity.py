"""Sizes and times as people write them in settings."""

import re

from localllm_magics.core.errors import BadOption

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?)b?|b)?", re.IGNORECASE)
_OTHER = "?"
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|sec|min|m|h|d)?", re.IGNORECASE)
_SECONDS = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_MOST_CHARACTERS = 40
_LEAST_BYTES = 10**6  # a smaller number was meant in GB


def to_bytes(written: object) -> int | None:
    """`8 GB`, `7.5GiB` or a number of bytes; None where nothing is written.

    Raises:
        BadOption: It is no size.
    """
    text = _text(written)
    found = _SIZE.fullmatch(text)
    if not text:
        return None
    number, unit, is_binary = found.groups("") if found else ("0", "", "")
    size = int(float(number) * (1024 if is_binary else 1000) ** _POWERS[unit.lower()])
    if size < _LEAST_BYTES:
        raise BadOption(
            f"memory_limit cannot be {written!r}.", 'Write "8 GB", a number of bytes from a million up, or "" for none.'
        )
    return size


def to_seconds(written: object) -> float | None:
    """`30m`, `1h30m`, or a number of seconds; None where nothing is written.

    Raises:
        BadOption: It is no time.
    """
    text = _text(written)
    parts = _TIME.findall(text)
    seconds = sum(float(number) * _SECONDS[unit.lower()] for number, unit in parts)
    is_whole = re.sub(r"\s", "", "".join(map("".join, parts))) == re.sub(r"\s", "", text)
    if text and not (is_whole and seconds > 0):
        raise BadOption(
            f"idle_ttl cannot be {written!r}.", 'Write "30m", "1h30m", a number of seconds, or "" for ever.'
        )
    return seconds if parts else None


def _text(written: object) -> str:
    """What is WRITTEN, and for values of other types what is neither a size nor a time."""
    return str(written).strip()[:_MOST_CHARACTERS] if isinstance(written, str | int) else _OTHER
