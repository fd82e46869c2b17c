"""The parts of an answer as they are shown, live and finished alike: numbers, notices and the small line of stats."""

from collections.abc import Iterable

_WHOLE = 100  # from here on, decimals of a rate are noise


def to_rate(tokens_per_second: float, *, is_estimated: bool = False) -> str:
    """A rate as people write it: `12.3 tok/s`, `1,626 tok/s`, empty for none."""
    if not tokens_per_second:
        return ""
    number = f"{tokens_per_second:,.0f}" if tokens_per_second >= _WHOLE else f"{tokens_per_second:.1f}"
    return f"{'~' * is_estimated}{number} tok/s"


def to_two_digits(number: float) -> str:
    """NUMBER with the digits that a forecast knows: `0.42`, `4.2`, `42`, `420`, `4,200`."""
    if number >= _WHOLE:
        size = 10 ** (len(str(int(number))) - 2)
        return f"{round(number / size) * size:,}"
    return f"{number:.0f}" if number >= 9.95 else f"{number:.1f}" if number >= 0.995 else f"{number:.2g}"


def to_tokens(count: int, what: str = "", *, is_estimated: bool = False) -> str:
    """A number of tokens of WHAT."""
    return f"{'~' * is_estimated}{count:,} token{'s' * (count != 1)}{what and f' {what}'}"


def to_first_token(seconds: float | None) -> str:
    """The time to the first token; empty where it is not known or shows as nothing."""
    shown = f"{seconds or 0:.2f}"
    return "" if shown == "0.00" else f"first token {shown} s"


def to_duration(seconds: float) -> str:
    """A time as people say it: `40 s`, `5 min`, `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3570 else f"{seconds / 3600:.1f} h".replace(".0 h", " h")


def to_context(used: int, size: int | None) -> str:
    """How full the context window is; empty where that is not known."""
    return f"context {used:,} of {size:,}" if used and size else ""


def join(parts: Iterable[str | None]) -> str:
    """The PARTS of a line that are there."""
    return " · ".join(filter(None, parts))


def to_safe_markdown(text: str) -> str:
    """TEXT made safe to show, without blank lines at its end."""
    from localllm_magics.core.sanitizer.markdown import to_safe_markdown  # its patterns would slow %load_ext down

    return to_safe_markdown(text).rstrip()


def small(line: str) -> str:
    """LINE, which starts with a sign that is no syntax, in small grey letters; without styles it is still small."""
    return f'<small style="color:gray">{to_safe_markdown(_on_one_line(line))}</small>'


def noted(notices: Iterable[str]) -> list[str]:
    """Each of NOTICES as a paragraph, its commands in backticks."""
    return [f"Note: {_on_one_line(notice)}" for notice in notices]


def folded(reasoning: str | None) -> str:
    """The reasoning as a block that opens on a click."""
    if not reasoning or not reasoning.strip():
        return ""
    return f"<details><summary>Reasoning</summary>\n\n{to_safe_markdown(reasoning)}\n\n</details>"


def _on_one_line(text: str) -> str:
    return " ".join(text.split())
