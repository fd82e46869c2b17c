"""Measures, prints the tables, and keeps them in build/bench."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.bench.plan import Measure
    from tools.bench.result import Section

FOLDER = Path(__file__).resolve().parents[2] / "build" / "bench"


def main() -> int:
    """Run what the command line asks for, and return the exit status."""
    # Not above: contenders' processes import this file too, and their memory is measured.
    from tools.bench import machine, plan
    from tools.bench.result import to_json, to_markdown

    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: small models, few rounds")
    parser.add_argument("--only", action="append", metavar="NAME", help=f"of {', '.join(plan.full(_say))}; repeatable")
    options = parser.parse_args()
    measures = (plan.quick if options.quick else plan.full)(_say)
    unknown = set(options.only or ()) - set(measures)
    if unknown:
        parser.error(f"--only knows {', '.join(measures)}")
    facts, started = machine.facts() | {"load before": machine.load()}, time.monotonic()
    sections = [_measured(name, measures[name]) for name in options.only or measures]
    facts |= {"load after": machine.load(), "took": f"{time.monotonic() - started:.0f} s"}
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "bench-results.json").write_text(to_json(facts, sections), "utf-8")
    (FOLDER / "bench-results.md").write_text(to_markdown(facts, sections), "utf-8")
    print(to_markdown(facts, sections))
    return 0 if all(section.rows for section in sections) else 1


def _measured(name: str, measure: "Measure") -> "Section":
    """The table of MEASURE; one that cannot be measured does not take the others along."""
    from tools.bench.kernel import CellFailed
    from tools.bench.result import Section
    from tools.bench.server import ServerFailed
    from tools.bench.worker import WorkerFailed

    try:
        return measure()
    except (CellFailed, ServerFailed, WorkerFailed) as failure:
        return Section(title=name, notes=(f"Not measured: {failure}",))


def _say(text: str) -> None:
    print(f"[bench] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
