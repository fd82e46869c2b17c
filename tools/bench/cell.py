"""Ours, from a notebook: `%%llm` cells in a real kernel."""

import shlex
from collections.abc import Callable, Mapping
from types import MappingProxyType

from tools.bench.ask import MIN_P, TEMPERATURE, TOP_K, TOP_P, Ask, Memory, Sample, Setup, memory_of, steps
from tools.bench.kernel import LOAD_EXTENSION, Cell, Kernel


class CellContender:
    """A kernel that has the extension; the first ask loads the model.

    Args:
        setup: How it is loaded.
        to_source: The cell for an ask, `source` unless given.
        environment: Variables of the kernel on top of this process's own.
    """

    def __init__(
        self,
        setup: Setup,
        to_source: Callable[[Setup, Ask], str] | None = None,
        *,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._setup = setup
        self._to_source = to_source or source
        self.kernel = Kernel(environment)
        try:
            self.kernel.run(LOAD_EXTENSION)
        except BaseException:
            self.close()
            raise

    def ask(self, ask: Ask) -> Sample:
        """Answer ASK in a cell: counts and rates from its document, `wall_seconds` as a front end sees it."""
        cell = self.kernel.run(self._to_source(self._setup, ask))
        return to_sample(cell)

    def memory(self) -> Memory:
        """What its process holds now."""
        return memory_of(self.kernel.process_id)

    def close(self) -> None:
        """End the kernel."""
        self.kernel.close()


def source(setup: Setup, ask: Ask) -> str:
    """The cell that asks ASK."""
    sampling = f"-t {TEMPERATURE} --top-k {TOP_K} --top-p {TOP_P} --min-p {MIN_P} --seed {ask.seed}"
    load = f"--ctx {setup.context} --threads {setup.threads}"
    return f"%%llm {shlex.quote(setup.reference)} -n {ask.max_tokens} {sampling} {load}\n{ask.text}"


def to_sample(cell: Cell) -> Sample:
    """What the completion of CELL says, and how long a reader waited for it."""
    document = cell.document
    stats = document["stats"]
    tokens = int(stats["completion_tokens"])
    return Sample(
        text=document["text"],
        tokens=tokens,
        prompt_tokens=int(stats["prompt_tokens"]),
        prompt_seconds=stats["prompt_seconds"],
        steps=steps(tokens, cut_off=document["finish_reason"] == "length"),
        decode_seconds=stats["decode_seconds"],
        wall_seconds=cell.idle_at - cell.busy_at,
    )
