from dataclasses import replace

import pytest

from localllm_magics.core.errors import NotEnoughMemory
from localllm_magics.core.memory_plan import DeviceMemory, MachineMemory, PlanSettings
from localllm_magics.core.model_info import ModelDefaults, ModelInfo
from localllm_magics.core.model_shape import LayerShape, ModelShape
from localllm_magics.core.request import GpuLayers, LoadOptions
from localllm_magics.engines.kernel.plan import (
    RESERVE,
    context_size,
    gpu_layers,
    load_settings,
    placed_settings,
    planned_load,
    plans_of,
    require_room_for_library,
    smaller_context_hint,
    wanted_settings,
)
from localllm_magics.engines.planner.fit import fit
from localllm_magics.eviction import over_free
from tests.engines.planner import shapes

GB, MB = 10**9, 10**6
CUDA = DeviceMemory(name="CUDA0", free=4 * GB, total=6 * GB)
RPC = DeviceMemory(name="RPC0[127.0.0.1:50052]", free=2 * GB, total=2 * GB)
LAYER = LayerShape(attention=(("F16", 10 * MB),), key_width=512, value_width=512)
SHAPE = ModelShape(architecture="llama", kinds=(LAYER,), order=(0,) * 10, width=512, heads=8, vocabulary=1000)
KNOWN = ModelInfo(reference="x", name="x", source="folder", size_bytes=100 * MB, layers=10, context=4096, shape=SHAPE)
UNKNOWN = replace(KNOWN, shape=None)
NOTHING = LoadOptions()


def host(free: int) -> DeviceMemory:
    return DeviceMemory(name="CPU", free=free, total=free, is_host=True)


def machine(free: int, *devices: DeviceMemory) -> MachineMemory:
    return MachineMemory(host=host(free), devices=devices)


@pytest.mark.parametrize(
    ("info", "options", "settings"),
    [
        pytest.param(KNOWN, NOTHING, PlanSettings(context=4096), id="trained"),
        pytest.param(replace(KNOWN, context=131072), NOTHING, PlanSettings(context=8192), id="bounded"),
        pytest.param(replace(KNOWN, context=None), NOTHING, PlanSettings(context=4096), id="not known"),
        pytest.param(replace(KNOWN, context=2**32 - 1), NOTHING, PlanSettings(context=4096), id="impossible"),
        pytest.param(
            replace(KNOWN, context=131072, defaults=ModelDefaults(ctx=16384)),
            NOTHING,
            PlanSettings(context=16384),
            id="its own default",
        ),
        pytest.param(KNOWN, LoadOptions(ctx=9000), PlanSettings(context=9000), id="more than trained"),
        pytest.param(
            KNOWN,
            LoadOptions(ctx=5, gpu_layers="all", cpu_moe="all", kv_type="q8_0"),
            PlanSettings(context=5, gpu_layers=11, cpu_moe=10, kv_type="q8_0"),
            id="all",
        ),
        pytest.param(
            KNOWN, LoadOptions(cpu_moe=3, gpu_layers=2), PlanSettings(context=4096, gpu_layers=2, cpu_moe=3), id="some"
        ),
        pytest.param(
            replace(KNOWN, layers=None, size_bytes=None), NOTHING, PlanSettings(context=4096), id="nothing is known"
        ),
    ],
)
def test_what_is_left_out_has_its_usual_value(info: ModelInfo, options: LoadOptions, settings: PlanSettings) -> None:
    assert wanted_settings(info, options, machine(0), repack=True) == settings


def context_of(info: ModelInfo, free: int, options: LoadOptions = NOTHING) -> PlanSettings:
    return load_settings(info, options, machine(free), repack=True)


@pytest.mark.parametrize(
    ("free", "context"),
    [
        pytest.param(10 * GB, 4096, id="all"),
        pytest.param(RESERVE + 170 * MB, 1024, id="half of what the weights leave"),
        pytest.param(RESERVE + 118 * MB, 512, id="the least"),
    ],
)
def test_a_context_that_nobody_asked_for_shrinks_with_the_memory(free: int, context: int) -> None:
    assert context_of(KNOWN, free) == PlanSettings(context=context)


def test_a_context_that_was_asked_for_does_not_shrink() -> None:
    options = LoadOptions(ctx=4096)

    assert context_of(KNOWN, RESERVE + 200 * MB, options).context == 4096
    with pytest.raises(NotEnoughMemory, match=r"x needs .* with a context of 4,096 tokens"):
        context_of(KNOWN, RESERVE + 170 * MB, options)


@pytest.mark.parametrize(
    ("options", "context"),
    [
        pytest.param(LoadOptions(force=True), 2048, id="as large as fits"),
        pytest.param(LoadOptions(force=True, ctx=4096), 4096, id="as it was asked"),
    ],
)
def test_a_forced_load_has_a_context_beside_mapped_weights(options: LoadOptions, context: int) -> None:
    settings = context_of(KNOWN, RESERVE + 95 * MB, options)

    assert settings == PlanSettings(context=context, map_file=True, repack=False)


def test_a_forced_load_of_what_fits_is_a_load_like_any_other() -> None:
    assert context_of(KNOWN, 10 * GB, LoadOptions(force=True)) == PlanSettings(context=4096)


@pytest.mark.parametrize(
    ("size_bytes", "fits"), [(0, True), (6 * GB, True), (7 * GB, True), (9 * GB, False), (20 * GB, False)]
)
def test_weights_of_which_only_the_size_is_known_fit_where_room_for_a_context_stays(
    size_bytes: int, fits: bool
) -> None:
    info, free = replace(UNKNOWN, size_bytes=size_bytes), RESERVE + 10 * GB

    if fits:
        assert not context_of(info, free).map_file
    else:
        with pytest.raises(NotEnoughMemory):
            context_of(info, free)
    assert context_of(info, free, LoadOptions(force=True)).map_file == (not fits)


def test_what_is_on_a_device_of_a_model_of_which_only_the_size_is_known_is_not_counted() -> None:
    plan = plans_of(replace(UNKNOWN, size_bytes=None), machine(1, CUDA))(PlanSettings(context=1, gpu_layers=3))

    assert (plan.needed, [use.memory for use in plan.uses]) == (0, [host(1), CUDA])


@pytest.mark.parametrize(
    ("free", "modules", "fits"),
    [
        pytest.param(RESERVE + 40 * MB, [], True, id="room"),
        pytest.param(RESERVE + 30 * MB, [], False, id="too little to import it"),
        pytest.param(RESERVE, ["llama_cpp"], True, id="enough once it is imported"),
        pytest.param(0, ["llama_cpp"], False, id="none"),
    ],
)
def test_llama_cpp_is_not_imported_where_that_could_end_the_process(free: int, modules: list[str], fits: bool) -> None:
    if fits:
        require_room_for_library("x", host(free), modules)
        return
    require_room_for_library("x", replace(host(free), swap=GB), modules)
    limited = replace(host(free), limit="this process may use less")
    for memory, reason in ((host(free), "are free."), (limited, "are free: this process may use less.")):
        with pytest.raises(NotEnoughMemory, match=r"x needs .* for llama.cpp alone") as caught:
            require_room_for_library("x", memory, modules)
        assert caught.value.message.endswith(reason)


@pytest.mark.parametrize(
    ("requested", "planned", "free", "size"),
    [
        pytest.param(None, 1024, 10 * GB, 1024, id="planned"),
        pytest.param(None, 8192, 10_000_000, 4096, id="half the memory"),
        pytest.param(None, 8192, 1, 512, id="no memory"),
        pytest.param(None, 100, 1, 100, id="small model"),
        pytest.param(10_000, 1024, 10_000_000, 10_000, id="just fits"),
    ],
)
def test_a_context_beside_weights_in_memory_has_the_size_that_fits(
    requested: int | None, planned: int, free: int, size: int
) -> None:
    assert context_size(requested, planned, 1000, free) == size


@pytest.mark.parametrize(
    ("free", "hint"),
    [
        pytest.param(40_000_000, "These fit: --ctx 16384, --ctx 8192, --ctx 4096.", id="some"),
        pytest.param(0, "These fit: --ctx 1.", id="none"),
    ],
)
def test_a_context_that_does_not_fit_beside_weights_in_memory_is_refused_with_three_that_do(
    free: int, hint: str
) -> None:
    with pytest.raises(NotEnoughMemory) as caught:
        context_size(100_000, 100_000, 1000, free)

    assert caught.value.message == f"A context of 100,000 tokens needs 0.1 GB, and {free / GB:.1f} GB are free."
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
        pytest.param("all", [], 33, id="all"),
        pytest.param(5, [], 5, id="a number"),
        pytest.param(99, [CUDA], 33, id="more than there are"),
        pytest.param(0, [CUDA], 0, id="none"),
        pytest.param("auto", [], 0, id="auto without a GPU"),
        pytest.param(None, [], 0, id="no request, without a GPU"),
        pytest.param("auto", [CUDA], 14, id="auto, a part"),
        pytest.param(None, [CUDA, RPC], 22, id="two GPUs, a part"),
        pytest.param("auto", [CUDA, CUDA, CUDA], 33, id="room for all"),
    ],
)
def test_layers_go_where_there_is_room(requested: GpuLayers | None, devices: list[DeviceMemory], layers: int) -> None:
    assert gpu_layers(requested, 32, 8 * GB, devices) == layers


def test_a_model_of_unknown_size_fits() -> None:
    assert gpu_layers("auto", 0, 0, [CUDA]) == 1


@pytest.mark.parametrize(
    ("layer", "options", "spare"),
    [
        pytest.param(
            replace(LAYER, experts=(("Q4_0", 600 * MB),)), LoadOptions(gpu_layers=0), 400 * MB, id="an expert tensor"
        ),
        pytest.param(LAYER, LoadOptions(gpu_layers=3), 256 << 20, id="what is on its way to a GPU"),
        pytest.param(LAYER, LoadOptions(gpu_layers=0), RESERVE, id="nothing large"),
    ],
)
def test_what_passes_through_memory_needs_room_too(layer: LayerShape, options: LoadOptions, spare: int) -> None:
    info = replace(KNOWN, shape=replace(SHAPE, kinds=(layer,)))
    large = machine(999 * GB, CUDA)
    wanted = wanted_settings(info, options, large, repack=True)
    host = plans_of(info, large)(wanted).uses[0]
    needed = int(1.02 * host.needed) + spare

    assert load_settings(info, replace(options, ctx=4096), machine(needed, CUDA), repack=True) == wanted
    with pytest.raises(NotEnoughMemory):
        load_settings(info, replace(options, ctx=4096), machine(needed - 1, CUDA), repack=True)


@pytest.mark.parametrize(
    ("shape", "device", "options"),
    [
        pytest.param(shapes.DENSE, 2 * GB, LoadOptions(), id="some layers"),
        pytest.param(shapes.DENSE, 2 * GB, LoadOptions(gpu_layers="auto", ctx=32_768), id="a large context"),
        pytest.param(shapes.DENSE, GB, LoadOptions(), id="nothing beside the margin"),
        pytest.param(shapes.EXPERTS, 5 * GB, LoadOptions(), id="some experts"),
    ],
)
def test_layers_that_nobody_asked_for_are_those_of_the_fit_and_are_no_reason_to_refuse(
    shape: ModelShape, device: int, options: LoadOptions
) -> None:
    info = replace(KNOWN, shape=shape, size_bytes=10 * GB if shape.experts else GB, context=32_768)
    on = shapes.machine(16 * GB, device)
    found = fit(shape, on, wanted_settings(info, options, on, repack=True))

    wanted = placed_settings(info, options, on, repack=True)

    assert (wanted.gpu_layers, wanted.overrides) == (found.max_gpu_layers, found.overrides)
    assert load_settings(info, options, on, repack=True) == wanted


def test_experts_that_are_to_stay_on_the_cpu_leave_room_for_more_layers() -> None:
    info = replace(KNOWN, shape=shapes.EXPERTS, size_bytes=10 * GB)
    on = shapes.machine(16 * GB, 2 * GB)

    wanted = placed_settings(info, LoadOptions(cpu_moe="all"), on, repack=True)

    assert (wanted.gpu_layers, wanted.cpu_moe, wanted.overrides) == (11, 10, ())


@pytest.mark.parametrize(
    ("info", "layers"), [pytest.param(KNOWN, 3, id="known sizes"), pytest.param(UNKNOWN, 3, id="unknown sizes")]
)
def test_who_knows_better_places_the_layers_that_nobody_asked_for(info: ModelInfo, layers: int) -> None:
    def place(settings: PlanSettings) -> PlanSettings:
        return replace(settings, gpu_layers=layers)

    def placed(options: LoadOptions) -> int:
        return placed_settings(info, options, machine(GB, CUDA), repack=True, place=place).gpu_layers

    assert [placed(options) for options in (NOTHING, LoadOptions(gpu_layers=2))] == [layers, 2]


def test_room_is_made_for_all_that_a_load_needs_and_no_more() -> None:
    info, options = replace(KNOWN, shape=replace(SHAPE, output=(("F16", GB),))), LoadOptions(ctx=4096)
    plan = planned_load(info, options, machine(0))
    enough = plan.reserve + int(1.02 * plan.needed)

    assert plan.reserve == GB > RESERVE
    assert over_free(planned_load(info, options, machine(enough))).size == 0
    assert over_free(planned_load(info, options, machine(enough - 1))).size == 1
    assert load_settings(info, options, machine(enough), repack=True) == plan.settings
