from collections.abc import Sequence
from dataclasses import replace

import pytest

from localllm_magics.core.errors import NotEnoughMemory
from localllm_magics.core.memory_plan import DeviceMemory, DeviceUse, MemoryPlan, PlanSettings
from localllm_magics.engines.planner.refusal import Plans, Subject, require_fit, shortage

MB = 10**6
KV_SIZES = {"f16": 10_000, "q8_0": 5000, "q4_0": 2500}
MODEL = Subject(name="x", layers=9, has_experts=False, trained=32768)
MIXTURE = replace(MODEL, has_experts=True)
SETTINGS = PlanSettings(context=8192)
FORCE = "To load it anyway: --force (in Python force=True)."
NOT_FORCED = "--force alone cannot help: the system would end this process."
SMALLER = "Smaller models: %llm models, or %llm load demo."


def host(free: int, limit: str = "", swap: int = 0) -> DeviceMemory:
    return DeviceMemory(name="CPU", free=free * MB, total=9999 * MB, is_host=True, limit=limit, swap=swap * MB)


def gpu(free: int, *, is_host: bool = False) -> DeviceMemory:
    return DeviceMemory(name="GPU0", free=free * MB, total=9999 * MB, is_host=is_host)


def plans(*memories: DeviceMemory, weights: int = 200) -> Plans:
    """A model of ten layers, the output's included, of which half are experts; a token of context needs 10 kB."""

    def plan(settings: PlanSettings) -> MemoryPlan:
        share = settings.gpu_layers / 10
        on_gpu = share * weights * (0.5 if settings.cpu_moe else 1)
        kv_cache = settings.context * KV_SIZES[settings.kv_type]
        uses: Sequence[DeviceUse] = [
            DeviceUse(
                memory=memories[0],
                weights=int((weights - on_gpu) * MB),
                kv_cache=int((1 - share) * kv_cache),
                compute=10 * MB,
            ),
            *(
                DeviceUse(memory=memory, weights=int(on_gpu * MB), kv_cache=int(share * kv_cache))
                for memory in memories[1:]
            ),
        ]
        return MemoryPlan(settings=settings, uses=tuple(uses), is_exact=True)

    return plan


@pytest.mark.parametrize(
    ("memories", "settings"),
    [
        pytest.param([host(292)], SETTINGS, id="the host"),
        pytest.param([host(11), gpu(282)], replace(SETTINGS, gpu_layers=10), id="a device"),
        pytest.param([host(292, limit="this process may use less"), gpu(0)], SETTINGS, id="an unused device"),
    ],
)
def test_what_fits_is_loaded_as_it_was_asked(memories: Sequence[DeviceMemory], settings: PlanSettings) -> None:
    assert require_fit(plans(*memories), settings, MODEL) == settings
    assert require_fit(plans(*memories), settings, MODEL, force=True) == settings


def refusal(
    memories: Sequence[DeviceMemory], settings: PlanSettings, subject: Subject = MODEL, *, force: bool = False
) -> tuple[str, str]:
    with pytest.raises(NotEnoughMemory) as caught:
        require_fit(plans(*memories), settings, subject, force=force)
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize(
    ("memories", "settings", "message"),
    [
        pytest.param(
            [host(250)],
            SETTINGS,
            "x needs 291.9 MB of memory with a context of 8,192 tokens, and 250.0 MB are free.",
            id="the host",
        ),
        pytest.param(
            [host(250, "this container or job may use 300.0 MB")],
            SETTINGS,
            "x needs 291.9 MB of memory with a context of 8,192 tokens, and 250.0 MB are free: "
            "this container or job may use 300.0 MB.",
            id="a limit",
        ),
        pytest.param(
            [host(999), gpu(250)],
            replace(SETTINGS, gpu_layers=10),
            "x needs 281.9 MB of memory on GPU0 with 10 layers there and a context of 8,192 tokens, "
            "and 250.0 MB are free.",
            id="a device",
        ),
        pytest.param(
            [host(250), gpu(999, is_host=True)],
            replace(SETTINGS, gpu_layers=5),
            "x needs 291.9 MB of memory with a context of 8,192 tokens, and 250.0 MB are free.",
            id="a device that shares the host's",
        ),
    ],
)
def test_a_refusal_says_what_is_needed_and_what_is_free(
    memories: Sequence[DeviceMemory], settings: PlanSettings, message: str
) -> None:
    assert refusal(memories, settings)[0] == message


@pytest.mark.parametrize(
    ("memories", "settings", "subject", "hint"),
    [
        pytest.param(
            [host(260)],
            SETTINGS,
            MODEL,
            f"These fit: --ctx 4096, --kv-type q8_0, --kv-type q4_0. {FORCE}",
            id="a smaller context, or smaller types",
        ),
        pytest.param(
            [host(240)],
            replace(SETTINGS, context=1_000_000),
            MODEL,
            f"These fit: --ctx 2048, --ctx 1024, --ctx 512. {NOT_FORCED}",
            id="smaller contexts",
        ),
        pytest.param(
            [host(800)],
            replace(SETTINGS, context=1_000_000),
            MODEL,
            f"These fit: --ctx 32768, --ctx 16384, --ctx 8192. {NOT_FORCED}",
            id="not above what it was trained with",
        ),
        pytest.param(
            [host(216)],
            SETTINGS,
            MODEL,
            f"These fit: --ctx 512, --ctx 256, --ctx 1024 --kv-type q8_0. {FORCE}",
            id="both",
        ),
        pytest.param(
            [host(240)],
            replace(SETTINGS, kv_type="q4_0", context=32768),
            MODEL,
            f"These fit: --ctx 8192, --ctx 4096, --ctx 2048. {FORCE}",
            id="contexts for the smallest type",
        ),
        pytest.param([host(150)], SETTINGS, MODEL, f"{SMALLER} {FORCE}", id="only a smaller model"),
        pytest.param([host(150)], replace(SETTINGS, context=1), MODEL, f"{SMALLER} {FORCE}", id="no smaller context"),
        pytest.param(
            [host(50)],
            SETTINGS,
            MODEL,
            f"These fit: --ctx 2048 --force, --ctx 1024 --force, --ctx 512 --force. {NOT_FORCED}",
            id="smaller contexts with mapped weights",
        ),
        pytest.param([host(5)], SETTINGS, MODEL, f"{SMALLER} {NOT_FORCED}", id="nothing"),
        pytest.param(
            [host(5)],
            SETTINGS,
            replace(MODEL, name="demo"),
            f"Close what needs much memory. {NOT_FORCED}",
            id="nothing, and nothing is smaller",
        ),
        pytest.param(
            [host(250), gpu(200)],
            replace(SETTINGS, gpu_layers=10),
            MIXTURE,
            f"These fit: --cpu-moe, --gpu-layers 7. {SMALLER} {FORCE}",
            id="experts on the host, or fewer layers on the device",
        ),
        pytest.param(
            [host(200), gpu(200)],
            SETTINGS,
            MODEL,
            f"These fit: --gpu-layers 7. {SMALLER} {FORCE}",
            id="layers on the device",
        ),
    ],
)
def test_a_refusal_names_three_settings_that_fit_and_whether_it_can_be_forced(
    memories: Sequence[DeviceMemory], settings: PlanSettings, subject: Subject, hint: str
) -> None:
    assert refusal(memories, settings, subject)[1] == hint


def test_weights_that_are_forced_are_mapped_and_not_repacked() -> None:
    settings = require_fit(plans(host(100)), SETTINGS, MODEL, force=True)

    assert settings == replace(SETTINGS, map_file=True, repack=False)


def test_layers_that_are_forced_to_a_device_are_left_to_it() -> None:
    settings = replace(SETTINGS, gpu_layers=10)

    assert require_fit(plans(host(100), gpu(100)), settings, MODEL, force=True) == settings


@pytest.mark.parametrize(
    ("memory", "is_possible"),
    [
        pytest.param(host(91), False, id="no swap space"),
        pytest.param(host(61, swap=20), False, id="too little"),
        pytest.param(host(61, swap=40), True, id="enough"),
    ],
)
def test_a_forced_load_that_would_end_the_process_is_refused(memory: DeviceMemory, is_possible: bool) -> None:
    if is_possible:
        assert require_fit(plans(memory), SETTINGS, MODEL, force=True).map_file
    else:
        assert refusal([memory], SETTINGS, force=True)[1].endswith(NOT_FORCED)


def test_what_is_reserved_is_needed_too() -> None:
    assert shortage(plans(host(292))(SETTINGS)) is None
    short = shortage(plans(host(292))(SETTINGS), reserve=MB)

    assert short is not None
    assert short.needed == plans(host(0))(SETTINGS).needed + MB


def test_what_is_reserved_is_named_apart_from_the_plan() -> None:
    subject = replace(MODEL, reserve=64 * MB)

    assert refusal([host(300)], SETTINGS, subject)[0] == (
        "x needs 291.9 MB of memory with a context of 8,192 tokens and 64.0 MB to load it, and 300.0 MB are free."
    )


def test_an_error_names_the_context_that_was_wanted() -> None:
    with pytest.raises(NotEnoughMemory, match=r"x needs 291\.9 MB of memory with a context of 8,192 tokens, "):
        require_fit(plans(host(100)), replace(SETTINGS, context=512), MODEL, wanted=SETTINGS)


def test_mapped_weights_count_where_address_space_is_limited() -> None:
    memory = replace(host(250), counts_mapped=True)

    assert refusal([memory], SETTINGS, force=True)[1].endswith(NOT_FORCED)
    assert require_fit(plans(host(250)), SETTINGS, MODEL, force=True).map_file


def test_an_estimate_can_be_a_little_too_low() -> None:
    plan = plans(host(292))(SETTINGS)

    assert shortage(plan) is None
    short = shortage(replace(plan, is_exact=False))
    assert short is not None
    assert short.needed == int(1.02 * plan.needed)
