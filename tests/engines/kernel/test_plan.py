import pytest

from localllm_magics.core.errors import NotEnoughMemory
from localllm_magics.core.request import GpuLayers
from localllm_magics.engines.kernel.library import Device
from localllm_magics.engines.kernel.plan import context_size, fits_in_memory, gpu_layers, smaller_context_hint

GB = 10**9
CPU = Device(name="CPU", description="EPYC", is_gpu=False, free_bytes=8 * GB, total_bytes=9 * GB)
CUDA = Device(name="CUDA0", description="RTX", is_gpu=True, free_bytes=4 * GB, total_bytes=6 * GB)
RPC = Device(name="RPC0[127.0.0.1:50052]", description="RPC", is_gpu=True, free_bytes=2 * GB, total_bytes=2 * GB)


@pytest.mark.parametrize(
    ("requested", "trained", "free", "size"),
    [
        pytest.param(None, 1024, 10 * GB, 1024, id="trained"),
        pytest.param(None, 131072, 10 * GB, 8192, id="bounded"),
        pytest.param(None, 8192, 10_000_000, 4096, id="half the memory"),
        pytest.param(None, 8192, 1, 512, id="no memory"),
        pytest.param(None, 100, 1, 100, id="small model"),
        pytest.param(2000, 1024, 10 * GB, 2000, id="more than trained"),
        pytest.param(5, 1024, 10 * GB, 5, id="less than trained"),
        pytest.param(10_000, 1024, 10_000_000, 10_000, id="just fits"),
    ],
)
def test_a_context_has_the_size_that_is_requested_and_fits(
    requested: int | None, trained: int, free: int, size: int
) -> None:
    assert context_size(requested, trained, 1000, free) == size


@pytest.mark.parametrize(
    ("requested", "free", "default", "size"),
    [
        pytest.param(None, 100 * GB, 16384, 16384, id="more than the default"),
        pytest.param(None, 100 * GB, 99999, 32768, id="more than trained"),
        pytest.param(None, 20_000_000, 16384, 8192, id="more than fits"),
        pytest.param(4096, 100 * GB, 16384, 4096, id="requested"),
    ],
)
def test_the_default_size_of_a_context_can_be_another(
    requested: int | None, free: int, default: int, size: int
) -> None:
    assert context_size(requested, 32768, 1000, free, default) == size


@pytest.mark.parametrize(
    ("requested", "trained", "free", "hint"),
    [
        pytest.param(
            100_000, 131072, 40_000_000, "These fit: --ctx 16384, --ctx 8192, --ctx 4096.", id="bounded by memory"
        ),
        pytest.param(100_000, 2048, 40_000_000, "These fit: --ctx 2048, --ctx 1024, --ctx 512.", id="by training"),
        pytest.param(100_000, 2048, 0, "These fit: --ctx 1.", id="by nothing"),
    ],
)
def test_a_context_that_does_not_fit_is_refused_with_three_that_do(
    requested: int, trained: int, free: int, hint: str
) -> None:
    with pytest.raises(NotEnoughMemory) as caught:
        context_size(requested, trained, 1000, free)

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
    ("requested", "devices", "layers"),
    [
        pytest.param("all", [CPU], 33, id="all"),
        pytest.param(5, [CPU], 5, id="a number"),
        pytest.param(99, [CPU, CUDA], 33, id="more than there are"),
        pytest.param(0, [CUDA], 0, id="none"),
        pytest.param("auto", [CPU], 0, id="auto without a GPU"),
        pytest.param(None, [CPU], 0, id="no request, without a GPU"),
        pytest.param("auto", [CPU, CUDA], 14, id="auto, a part"),
        pytest.param(None, [CUDA, RPC], 22, id="two GPUs, a part"),
        pytest.param("auto", [CUDA, CUDA, CUDA], 33, id="room for all"),
    ],
)
def test_layers_go_where_there_is_room(requested: GpuLayers | None, devices: list[Device], layers: int) -> None:
    assert gpu_layers(requested, 32, 8 * GB, devices) == layers


def test_a_model_of_unknown_size_fits() -> None:
    assert gpu_layers("auto", 0, 0, [CUDA]) == 1


@pytest.mark.parametrize(
    ("size_bytes", "fits"), [(0, True), (6 * GB, True), (8 * GB, True), (9 * GB, False), (20 * GB, False)]
)
def test_weights_fit_where_room_for_a_context_stays(size_bytes: int, fits: bool) -> None:
    assert fits_in_memory(size_bytes, 10 * GB) == fits
