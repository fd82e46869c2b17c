"""Sizes and times as people write them in settings."""

import re
from typing import TypeAlias

from localllm_magics.core.errors import BadOption

Written: TypeAlias = str | int
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?)b?|b)?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|sec|min|m|h|d)?", re.IGNORECASE)
_SECONDS = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_MOST_CHARACTERS = 40


def to_bytes(written: Written) -> int | None:
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
    if size < 1:
        raise BadOption(f"memory_limit cannot be {written!r}.", 'Write "8 GB", a number of bytes, or "" for none.')
    return size


def to_seconds(written: Written) -> float | None:
    """`30m`, `1h30m`, or a number of seconds; None where nothing is written.

    Raises:
        BadOption: It is no time.
    """
    text = _text(written)
    parts = _TIME.findall(text)
    if re.sub(r"\s", "", "".join(map("".join, parts))) != re.sub(r"\s", "", text):
        raise BadOption(
            f"idle_ttl cannot be {written!r}.", 'Write "30m", "1h30m", a number of seconds, or "" for ever.'
        )
    return sum(float(number) * _SECONDS[unit.lower()] for number, unit in parts) if parts else None


def _text(written: Written) -> str:
    return str(written).strip()[:_MOST_CHARACTERS]
