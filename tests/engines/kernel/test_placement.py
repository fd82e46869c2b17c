from dataclasses import replace

import pytest

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.request import GpuLayers, KvType, LoadOptions
from localllm_magics.engines.kernel.library import Device
from localllm_magics.engines.kernel.placement import (
    Placement,
    context_notice,
    experts_notice,
    kv_type_notice,
    memory_notice,
    offload_notice,
    placement,
    threads_notice,
)

GB = 10**9
CPU = Device(name="CPU", description="EPYC", is_gpu=False, free_bytes=8 * GB, total_bytes=9 * GB)
RPC = Device(
    name="RPC0",
    description="127.0.0.1:50052",
    is_gpu=True,
    free_bytes=2 * GB,
    total_bytes=2 * GB,
    buffers="RPC0[127.0.0.1:50052]",
)
METAL = Device(name="MTL0", description="M4", is_gpu=True, free_bytes=2 * GB, total_bytes=2 * GB, buffers="MTL0")

CPU_LOG = """\
load_tensors:   CPU_Mapped model buffer size =     1.00 MiB
load_tensors:   CPU_REPACK model buffer size =     2.00 MiB
llama_context:        CPU  output buffer size =     0.25 MiB
llama_kv_cache:        CPU KV buffer size =     0.50 MiB
llama_kv_cache: size =    0.50 MiB (   256 cells,   2 layers,  1/1 seqs), K (q8_0):    0.25 MiB, V (f16):    0.25 MiB
sched_reserve:        CPU compute buffer size =     0.25 MiB
"""
GPU_LOG = """\
load_tensors: offloaded 2/5 layers to GPU
load_tensors:   CPU_Mapped model buffer size =     1.00 MiB
load_tensors: RPC0[127.0.0.1:50052] model buffer size =    3.00 MiB
"""


def placed(device: str, layers: int, mebibytes: int, *kv_types: str) -> Placement:
    gpus = {name: 3 << 20 for name in device.split(" + ") if name != "CPU"}
    return Placement(
        device=device,
        gpu_layers=layers,
        memory_bytes=mebibytes << 20,
        device_bytes=tuple(gpus.items()),
        kv_types=frozenset(kv_types),
    )


@pytest.mark.parametrize(
    ("log", "devices", "expected"),
    [
        pytest.param("", [CPU], placed("CPU", 0, 0), id="empty"),
        pytest.param(CPU_LOG, [CPU], placed("CPU", 0, 4, "q8_0", "f16"), id="CPU"),
        pytest.param(
            "load_tensors: offloaded 7/7 layers to GPU\n" + CPU_LOG,
            [CPU],
            placed("CPU", 0, 4, "q8_0", "f16"),
            id="a build with RPC, and no GPU",
        ),
        pytest.param(GPU_LOG, [CPU, RPC], placed("CPU + RPC0", 2, 4), id="both"),
        pytest.param(GPU_LOG.replace("2/5", "5/5"), [CPU, RPC], placed("RPC0", 5, 4), id="GPU"),
        pytest.param(
            GPU_LOG.replace("RPC0[127.0.0.1:50052]", "MTL0_Mapped"),
            [METAL, CPU],
            placed("CPU + MTL0", 2, 4),
            id="a kind of buffer",
        ),
    ],
)
def test_the_placement_is_read_from_the_log(log: str, devices: list[Device], expected: Placement) -> None:
    assert placement(log, devices) == expected


NO_GPU = "this build has no GPU support. "
FULL = replace(RPC, free_bytes=GB)


@pytest.mark.parametrize(
    ("requested", "actual", "gpus", "notice"),
    [
        pytest.param(None, 0, [], "", id="no request"),
        pytest.param("auto", 3, [RPC], "", id="auto"),
        pytest.param(None, 0, [FULL], "No layer is on a GPU: RPC0 has 1.0 GB free, of which llama.cpp", id="full"),
        pytest.param(0, 0, [], "", id="none requested"),
        pytest.param(0, 0, [RPC], "", id="none requested of a GPU"),
        pytest.param("all", 33, [RPC], "", id="all"),
        pytest.param(5, 5, [RPC], "", id="a number"),
        pytest.param(99, 33, [RPC], "", id="more than there are, and all are"),
        pytest.param(5, 3, [RPC], "5 layers asked, 3 on a GPU: ", id="fewer"),
        pytest.param("all", 3, [RPC], "All layers asked, 3 on a GPU: ", id="fewer than all"),
        pytest.param("all", 0, [], f"All layers asked, 0 on a GPU: {NO_GPU}", id="no GPU"),
        pytest.param(1, 0, [], f"1 layer asked, 0 on a GPU: {NO_GPU}", id="one layer, no GPU"),
    ],
)
def test_fewer_layers_than_could_be_expected_are_a_notice(
    requested: GpuLayers | None, actual: int, gpus: list[Device], notice: str
) -> None:
    planned = requested if isinstance(requested, int) else 33 if requested == "all" else 0

    found = offload_notice(requested, min(planned, 33), actual, [CPU, *gpus])

    assert found.startswith(notice)
    assert bool(found) == bool(notice)


@pytest.mark.parametrize(
    ("requested", "notice"),
    [
        pytest.param("auto", "No layer is on a GPU: this build is for CUDA, which finds no device here.", id="auto"),
        pytest.param(5, "5 layers asked, 0 on a GPU: this build is for CUDA, which finds no device", id="a number"),
        pytest.param(0, "", id="none requested"),
    ],
)
def test_a_build_for_gpus_without_one_is_a_notice(requested: GpuLayers, notice: str) -> None:
    found = offload_notice(requested, 5 if requested else 0, 0, [CPU], ["CUDA"])

    assert found.startswith(notice)
    assert bool(found) == bool(notice)


@pytest.mark.parametrize(
    ("layers", "experts", "on_gpu", "notice"),
    [
        pytest.param(0, 0, 0, "", id="not asked"),
        pytest.param(3, 8, 33, "", id="experts, and a GPU"),
        pytest.param(3, 8, 0, "--cpu-moe changes nothing: no layer of it is on a GPU.", id="no GPU"),
        pytest.param(3, 0, 33, "--cpu-moe changes nothing: it has no experts.", id="no experts"),
    ],
)
def test_experts_that_cannot_be_moved_are_a_notice(layers: int, experts: int, on_gpu: int, notice: str) -> None:
    assert experts_notice("it", PlanSettings(context=256, cpu_moe=layers), experts, on_gpu) == notice


@pytest.mark.parametrize(
    ("asked", "actual", "notice"),
    [
        pytest.param(None, {"f16"}, "", id="not asked"),
        pytest.param("q8_0", {"q8_0"}, "", id="as asked"),
        pytest.param("q8_0", {"f16"}, "--kv-type q8_0 changes nothing: its KV cache is of f16.", id="another"),
        pytest.param("q8_0", set(), "--kv-type q8_0 changes nothing: this model has no KV cache.", id="none"),
    ],
)
def test_another_type_of_cache_than_requested_is_a_notice(asked: KvType | None, actual: set[str], notice: str) -> None:
    assert kv_type_notice(LoadOptions(kv_type=asked), frozenset(actual)) == notice


@pytest.mark.parametrize(
    ("planned", "actual", "notice"),
    [
        pytest.param(GB, GB, "", id="as planned"),
        pytest.param(GB, GB // 2, "", id="less"),
        pytest.param(10**6, 20 * 10**6, "", id="a small one"),
        pytest.param(GB, 2 * GB, "It takes 2.0 GB of memory, and 1.0 GB were planned.", id="more"),
    ],
)
def test_more_memory_than_planned_is_a_notice(planned: int, actual: int, notice: str) -> None:
    assert memory_notice(planned, actual) == notice


@pytest.mark.parametrize(
    ("requested", "notice"),
    [
        pytest.param(None, "", id="no request"),
        pytest.param(4, "", id="as many as can run"),
        pytest.param(5, "5 threads asked, 4 used: no more can run at once here, ", id="more"),
    ],
)
def test_more_threads_than_can_run_are_a_notice(requested: int | None, notice: str) -> None:
    found = threads_notice(requested, 4)

    assert found.startswith(notice)
    assert bool(found) == bool(notice)


@pytest.mark.parametrize(
    ("requested", "actual", "notice"),
    [
        pytest.param(None, 1024, "", id="no request"),
        pytest.param(1000, 1024, "", id="rounded up a little"),
        pytest.param(
            2, 256, "The context has 256 tokens: llama.cpp rounds 2 up to a multiple of 256.", id="rounded up a lot"
        ),
        pytest.param(
            2000, 2048, "The context of 2,000 tokens is larger than the trained one of 1,024.", id="more than trained"
        ),
    ],
)
def test_another_context_than_requested_is_a_notice(requested: int | None, actual: int, notice: str) -> None:
    assert context_notice(requested, 1024, actual) == notice
