"""Probes the installed build once, in a subprocess.

Some builds of llama.cpp crash on the first batch of a prompt: one compiled by an older gcc for a CPU with AMX, for
example. A crash takes the whole process along, so the first use of a build on a CPU happens in a subprocess. Whether it
passed is stored by library file and CPU.
"""

import sys
from collections.abc import Sequence

from localllm_magics import demo
from localllm_magics.core.errors import NotEnoughMemory
from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.request import ALL_LAYERS
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.context import Context
from localllm_magics.engines.kernel.installing import rebuild_command
from localllm_magics.engines.kernel.library import Library, library
from localllm_magics.engines.kernel.llama_model import LlamaModel
from localllm_magics.engines.kernel.worker.probe_results import ProbeResults, key_of
from localllm_magics.engines.kernel.worker.process import MEMORY_HINT, Limits, begin_worker, report, run_probe

REBUILD = rebuild_command()
NOTICE = (
    "This build of llama.cpp crashed when it was probed, so weights are not repacked: reading prompts is up to "
    f"3.5 times slower. To rebuild it, type: `{REBUILD}`"
)
_COMMAND = (sys.executable, "-m", "localllm_magics.engines.kernel.worker.build_probe")


def passes(
    lib: Library, results: ProbeResults, stop: Stop, *, command: Sequence[str] = _COMMAND, seconds: float = 120
) -> bool:
    """Whether the build passes its probe, which is run at most once for each build and CPU.

    Where there is no result, because the probe could not be run or an error of Python's ended it, nothing is stored,
    and the build is taken to pass.

    Args:
        lib: The build, which names the entry in the results.
        results: Those so far.
        stop: Ends the probe.
        command: The probe.
        seconds: After which it counts as crashed.

    Raises:
        NotEnoughMemory: Memory ran out.
        Stopped: STOP was set.
    """
    key = key_of(lib)
    known = results.get(key)
    if known is not None:
        return known
    end = run_probe(command, stop, Limits(seconds=seconds))
    if end is None:
        return True
    if end.ran_out_of_memory:
        raise NotEnoughMemory("Memory ran out when llama.cpp was probed in a subprocess.", MEMORY_HINT)
    results.store(key, passed=end.is_success)
    return end.is_success


def _probe() -> None:
    """Prefill 32 tokens and then decode single ones, as a chat does."""
    lib = library()
    model = LlamaModel(lib, demo.PATH, PlanSettings(context=64, gpu_layers=ALL_LAYERS), stop=Stop())
    context = Context(lib, model, size=64, threads=1)
    for _ in context.prefill([1] * 32):
        pass
    for _ in range(4):
        context.decode(1)
    context.close()
    model.close()


if __name__ == "__main__":
    begin_worker()
    _probe()
    report(event="passed")
