"""What was measured, as rows of tables: for readers in Markdown, for programs in JSON."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

_HEAD = "| measure | ours | peer | ratio (min to max) | target | met |\n|---|---:|---:|---:|---|---|"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A figure to reach, in words, and whether it was."""

    words: str
    met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measure; `ratios` is ours against the peer's, one a round."""

    measure: str
    unit: str
    ours: float
    peer: float | None = None
    ratios: tuple[float, ...] = ()
    target: Target | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One table, with sentences below it."""

    title: str
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = field(default=())


def at_least(value: float, limit: float | None, unit: str = "") -> Target | None:
    """The target that VALUE reaches LIMIT; None where there is no limit."""
    return None if limit is None else Target(words=f"at least {_number(limit)} {unit}".rstrip(), met=value >= limit)


def at_most(value: float, limit: float | None, unit: str = "") -> Target | None:
    """The target that VALUE stays below LIMIT or is equal; None where there is no limit."""
    return None if limit is None else Target(words=f"at most {_number(limit)} {unit}".rstrip(), met=value <= limit)


def ratio_row(measure: str, unit: str, ours: Sequence[float], peer: Sequence[float], limit: float | None = None) -> Row:
    """OURS against PEER, round by round; the target is for the median of the ratios."""
    ratios = tuple(mine / theirs for mine, theirs in zip(ours, peer, strict=True))
    return Row(
        measure=measure,
        unit=unit,
        ours=statistics.median(ours),
        peer=statistics.median(peer),
        ratios=ratios,
        target=at_least(statistics.median(ratios), limit),
    )


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest of VALUES that PERCENT of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def to_markdown(facts: dict[str, str], sections: Sequence[Section]) -> str:
    """All tables, and what they were measured on."""
    lines = ["# Benchmark", "", *(f"- {name}: {value}" for name, value in facts.items())]
    for section in sections:
        lines += ["", f"## {section.title}", ""]
        lines += [_HEAD, *map(_line, section.rows)] if section.rows else []
        lines += ["" for _ in section.rows[:1] if section.notes] + [f"- {note}" for note in section.notes]
    return "\n".join(lines) + "\n"


def to_json(facts: dict[str, str], sections: Sequence[Section]) -> str:
    """The same with every round's ratio."""
    return json.dumps({"version": 1, **facts, "sections": [asdict(section) for section in sections]}, indent=1) + "\n"


def _line(row: Row) -> str:
    peer = "" if row.peer is None else f"{_number(row.peer)} {row.unit}"
    target = "" if row.target is None else row.target.words
    met = "" if row.target is None else "yes" if row.target.met else "**no**"
    return f"| {row.measure} | {_number(row.ours)} {row.unit} | {peer} | {_spread(row.ratios)} | {target} | {met} |"


def _spread(ratios: Sequence[float]) -> str:
    if not ratios:
        return ""
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
