import pytest

from localllm_magics.core.request import GpuLayers
from localllm_magics.engines.kernel.library import Device
from localllm_magics.engines.kernel.placement import (
    Placement,
    context_notice,
    offload_notice,
    placement,
    threads_notice,
)
from localllm_magics.engines.kernel.plan import gpu_layers

GB = 10**9
CPU = Device(name="CPU", description="EPYC", is_gpu=False, free_bytes=8 * GB, total_bytes=9 * GB)
RPC = Device(name="RPC0[127.0.0.1:50052]", description="RPC", is_gpu=True, free_bytes=2 * GB, total_bytes=2 * GB)


CPU_LOG = """\
load_tensors:   CPU_Mapped model buffer size =     1.00 MiB
load_tensors:   CPU_REPACK model buffer size =     2.00 MiB
llama_context:        CPU  output buffer size =     0.25 MiB
llama_kv_cache:        CPU KV buffer size =     0.50 MiB
sched_reserve:        CPU compute buffer size =     0.25 MiB
"""
GPU_LOG = """\
load_tensors: offloaded 2/5 layers to GPU
load_tensors:   CPU_Mapped model buffer size =     1.00 MiB
load_tensors: RPC0[127.0.0.1:50052] model buffer size =    3.00 MiB
"""


@pytest.mark.parametrize(
    ("log", "devices", "expected"),
    [
        pytest.param("", [CPU], Placement(device="CPU", gpu_layers=0, memory_bytes=0), id="empty"),
        pytest.param(CPU_LOG, [CPU], Placement(device="CPU", gpu_layers=0, memory_bytes=4 << 20), id="CPU"),
        pytest.param(
            "load_tensors: offloaded 7/7 layers to GPU\n" + CPU_LOG,
            [CPU],
            Placement(device="CPU", gpu_layers=0, memory_bytes=4 << 20),
            id="a build with RPC, and no GPU",
        ),
        pytest.param(
            GPU_LOG, [CPU, RPC], Placement(device=f"CPU + {RPC.name}", gpu_layers=2, memory_bytes=4 << 20), id="both"
        ),
        pytest.param(
            GPU_LOG.replace("2/5", "5/5"),
            [CPU, RPC],
            Placement(device=RPC.name, gpu_layers=5, memory_bytes=4 << 20),
            id="GPU",
        ),
    ],
)
def test_the_placement_is_read_from_the_log(log: str, devices: list[Device], expected: Placement) -> None:
    assert placement(log, devices) == expected


NO_GPU = "this build has no GPU support. "


@pytest.mark.parametrize(
    ("requested", "actual", "supports_gpu", "notice"),
    [
        pytest.param(None, 0, False, "", id="no request"),
        pytest.param("auto", 3, True, "", id="auto"),
        pytest.param(0, 0, False, "", id="none requested"),
        pytest.param("all", 33, True, "", id="all"),
        pytest.param(5, 5, True, "", id="a number"),
        pytest.param(99, 33, True, "", id="more than there are, and all are"),
        pytest.param(5, 3, True, "5 layers asked, 3 on a GPU: ", id="fewer"),
        pytest.param("all", 3, True, "All layers asked, 3 on a GPU: ", id="fewer than all"),
        pytest.param("all", 0, False, f"All layers asked, 0 on a GPU: {NO_GPU}", id="no GPU"),
        pytest.param(1, 0, False, f"1 layer asked, 0 on a GPU: {NO_GPU}", id="one layer, no GPU"),
    ],
)
def test_fewer_layers_than_requested_are_a_notice(
    requested: GpuLayers | None, actual: int, supports_gpu: bool, notice: str
) -> None:
    found = offload_notice(requested, gpu_layers(requested, 32, 8 * GB, [CPU]), actual, supports_gpu=supports_gpu)

    assert found.startswith(notice)
    assert bool(found) == bool(notice)


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
