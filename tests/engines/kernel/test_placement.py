import pytest

from localllm_magics.core.errors import NotEnoughMemory
from localllm_magics.core.request import GpuLayers
from localllm_magics.engines.kernel.library import Device
from localllm_magics.engines.kernel.placement import (
    Placement,
    context_size,
    gpu_layers,
    offload_notice,
    placement,
    smaller_context_hint,
)

GB = 10**9
CPU = Device(name="CPU", description="EPYC", is_gpu=False, free_bytes=8 * GB, total_bytes=9 * GB)
CUDA = Device(name="CUDA0", description="RTX", is_gpu=True, free_bytes=4 * GB, total_bytes=6 * GB)
RPC = Device(name="RPC0[127.0.0.1:50052]", description="RPC", is_gpu=True, free_bytes=2 * GB, total_bytes=2 * GB)


@pytest.mark.parametrize(
    ("asked", "trained", "free", "size"),
    [
        pytest.param(None, 1024, 10 * GB, 1024, id="trained"),
        pytest.param(None, 131072, 10 * GB, 8192, id="bounded"),
        pytest.param(None, 131072, None, 8192, id="memory not known"),
        pytest.param(None, 8192, 10_000_000, 4096, id="half the memory"),
        pytest.param(None, 8192, 1, 512, id="no memory"),
        pytest.param(None, 100, 1, 100, id="small model"),
        pytest.param(2000, 1024, 10 * GB, 2000, id="more than trained"),
        pytest.param(5, 1024, 10 * GB, 5, id="less than trained"),
        pytest.param(10**6, 1024, None, 10**6, id="large, memory not known"),
        pytest.param(10_000, 1024, 10_000_000, 10_000, id="just fits"),
    ],
)
def test_a_context_has_the_size_that_is_wanted_and_fits(
    asked: int | None, trained: int, free: int | None, size: int
) -> None:
    assert context_size(asked, trained, 1000, free) == size


@pytest.mark.parametrize(
    ("asked", "free", "usual", "size"),
    [
        pytest.param(None, 100 * GB, 16384, 16384, id="more than usual"),
        pytest.param(None, 100 * GB, 99999, 32768, id="more than trained"),
        pytest.param(None, 20_000_000, 16384, 8192, id="more than fits"),
        pytest.param(4096, 100 * GB, 16384, 4096, id="asked for"),
    ],
)
def test_the_usual_size_of_a_context_can_be_another(asked: int | None, free: int, usual: int, size: int) -> None:
    assert context_size(asked, 32768, 1000, free, usual) == size


@pytest.mark.parametrize(
    ("asked", "trained", "free", "hint"),
    [
        pytest.param(
            100_000, 131072, 40_000_000, "These fit: --ctx 16384, --ctx 8192, --ctx 4096.", id="bounded by memory"
        ),
        pytest.param(100_000, 2048, 40_000_000, "These fit: --ctx 2048, --ctx 1024, --ctx 512.", id="by training"),
        pytest.param(100_000, 2048, 0, "These fit: --ctx 1.", id="by nothing"),
    ],
)
def test_a_context_that_does_not_fit_is_refused_with_three_that_do(
    asked: int, trained: int, free: int, hint: str
) -> None:
    with pytest.raises(NotEnoughMemory) as caught:
        context_size(asked, trained, 1000, free)

    assert caught.value.message == (f"A context of 100,000 tokens needs 0.1 GB, and {free / GB:.1f} GB are free.")
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("size", "hint"),
    [
        pytest.param(8192, "Try --ctx 4096.", id="large"),
        pytest.param(512, "Choose a smaller model: %llm models", id="small"),
        pytest.param(1, "Choose a smaller model: %llm models", id="one token"),
    ],
)
def test_a_context_that_cannot_be_allocated_may_be_smaller(size: int, hint: str) -> None:
    assert smaller_context_hint(size) == hint


@pytest.mark.parametrize(
    ("asked", "devices", "layers"),
    [
        pytest.param("all", [CPU], 33, id="all"),
        pytest.param(5, [CPU], 5, id="a number"),
        pytest.param(99, [CPU, CUDA], 33, id="more than there are"),
        pytest.param(0, [CUDA], 0, id="none"),
        pytest.param("auto", [CPU], 0, id="auto without a GPU"),
        pytest.param(None, [CPU], 0, id="nothing said, without a GPU"),
        pytest.param("auto", [CPU, CUDA], 14, id="auto, a part"),
        pytest.param(None, [CUDA, RPC], 22, id="two GPUs, a part"),
        pytest.param("auto", [CUDA, CUDA, CUDA], 33, id="room for all"),
    ],
)
def test_layers_go_where_there_is_room(asked: GpuLayers | None, devices: list[Device], layers: int) -> None:
    assert gpu_layers(asked, 32, 8 * GB, devices) == layers


def test_a_model_of_unknown_size_fits() -> None:
    assert gpu_layers("auto", 0, 0, [CUDA]) == 1


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
        pytest.param("", [CPU], Placement(device="CPU", gpu_layers=0, memory_bytes=0), id="silence"),
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
def test_the_log_tells_where_things_went(log: str, devices: list[Device], expected: Placement) -> None:
    assert placement(log, devices) == expected


NO_GPU = "this build has no GPU support. Type: "


@pytest.mark.parametrize(
    ("asked", "got", "supports_gpu", "notice"),
    [
        pytest.param(None, 0, False, None, id="nothing said"),
        pytest.param("auto", 3, True, None, id="auto"),
        pytest.param(0, 0, False, None, id="none wanted"),
        pytest.param("all", 33, True, None, id="all"),
        pytest.param(5, 5, True, None, id="a number"),
        pytest.param(99, 33, True, None, id="more than there are, and all are"),
        pytest.param(5, 3, True, "5 layers asked, 3 on a GPU: ", id="fewer"),
        pytest.param("all", 3, True, "All layers asked, 3 on a GPU: ", id="fewer than all"),
        pytest.param("all", 0, False, f"All layers asked, 0 on a GPU: {NO_GPU}", id="no GPU"),
        pytest.param(1, 0, False, f"1 layer asked, 0 on a GPU: {NO_GPU}", id="one layer, no GPU"),
    ],
)
def test_fewer_layers_than_asked_are_told(
    asked: GpuLayers | None, got: int, supports_gpu: bool, notice: str | None
) -> None:
    told = offload_notice(asked, gpu_layers(asked, 32, 8 * GB, [CPU]), got, supports_gpu=supports_gpu)

    assert (told or "").startswith(notice or "")
    assert (told is None) == (notice is None)
