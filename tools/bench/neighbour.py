"""The decode rate in a kernel where another library uses OpenMP, against one where none does."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing

from tools.bench.ask import Ask, Contender, Sample
from tools.bench.cell import CellContender
from tools.bench.decode import play
from tools.bench.result import Row, Section, ratio_row
from tools.bench.subject import Subject
from tools.setup.environment import OPENMP_BUILD

_FIT = """
import lightgbm, numpy
numbers = numpy.random.default_rng(0).random((5000, 20))
model = lightgbm.train({"objective": "regression", "verbose": -1}, lightgbm.Dataset(numbers[:, 1:], numbers[:, 0]), 20)
"""
_AT_LEAST = 0.95
_OURS = "with ggml's own threads, as the set-up builds it"
_OTHER = "with OpenMP, as it is built by default"


def neighbour(subject: Subject, say: Callable[[str], None]) -> Section:
    """Cells on SUBJECT, each after a `fit` of LightGBM in the same kernel, and without one."""
    rows, notes = [_row(subject, _OURS, {}, say)], []
    if OPENMP_BUILD.exists():
        rows.append(_row(subject, _OTHER, {"PYTHONPATH": str(OPENMP_BUILD)}, say))
    else:
        notes.append("The build with OpenMP was not measured. Type: make bench OPENMP=yes")
    return Section(
        title=f"Decoding beside LightGBM, {subject.name}: {subject.rounds} rounds, {subject.setup.threads} threads",
        rows=tuple(rows),
        notes=tuple(notes),
    )


class _Fitting(CellContender):
    """Cells, each after a `fit`."""

    def ask(self, ask: Ask) -> Sample:
        """Answer ASK in a cell."""
        self.kernel.run(_FIT)
        return super().ask(ask)


def _row(subject: Subject, build: str, environment: Mapping[str, str], say: Callable[[str], None]) -> Row:
    contenders: dict[str, Contender] = {}
    with ExitStack() as stack:
        for kind in (CellContender, _Fitting):
            say(f"decode beside LightGBM, llama.cpp {build}: loading {subject.name}")
            contenders[kind.__name__] = stack.enter_context(closing(kind(subject.setup, environment=environment)))
        turns = play(contenders, subject.asks, subject.rounds, lambda text: say(f"decode beside LightGBM: {text}"))
    alone, beside = ([turn.rate for turn in turns[kind.__name__]] for kind in (CellContender, _Fitting))
    return ratio_row(f"cell after a `fit` against without, llama.cpp {build}", "tok/s", beside, alone, _AT_LEAST)
