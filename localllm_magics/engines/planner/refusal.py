"""Refuses a load that does not fit into the memory that is free, and names settings that would fit.

A load that is forced is planned with weights that are mapped from the file and not repacked: the system takes such
memory back by itself, so that only the KV cache and the compute buffers must fit. Where not even they do, with all swap
space, the system would end this process, and a forced load is refused as well. Other devices than the host end nobody:
what does not fit there is an error of llama.cpp's.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TypeAlias

from localllm_magics.core.errors import NotEnoughMemory
from localllm_magics.core.memory_plan import DeviceMemory, MemoryPlan, PlanSettings
from localllm_magics.core.table import to_size

Plans: TypeAlias = Callable[[PlanSettings], MemoryPlan]
"""The memory that a model needs with settings, on this machine now."""
SMALLEST_CONTEXT = 256
_ERROR = 0.02  # by how much an estimate can be too low
_SUGGESTIONS = 3
_SMALLER_TYPES = ("q8_0", "q4_0")
_FORCE = "To load it anyway: --force (in Python force=True)."
_NOT_EVEN_FORCED = "--force alone cannot help: the system would end this process."
_SMALLER = "Smaller models: %llm models, or %llm load demo."
_NOTHING_SMALLER = "Close what needs much memory."


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """Memory that is not there.

    Args:
        memory: What there is.
        planned: Bytes that are needed of it by the plan.
        reserve: Bytes that are needed to load it, and in case that the plan is too low.
    """

    memory: DeviceMemory
    planned: int
    reserve: int = 0

    @property
    def needed(self) -> int:
        """All of it."""
        return self.planned + self.reserve


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The model that is to be loaded.

    Args:
        name: What messages call it.
        layers: Repeating layers.
        has_experts: Whether it is a mixture of experts.
        trained: Tokens of context that it was trained with.
        reserve: Bytes of the host that the load needs beside the plan.
    """

    name: str
    layers: int
    has_experts: bool
    trained: int
    reserve: int = 0


def require_fit(
    plans: Plans,
    settings: PlanSettings,
    subject: Subject,
    *,
    wanted: PlanSettings | None = None,
    force: bool = False,
) -> PlanSettings:
    """SETTINGS, or those of a forced load where they do not fit.

    Args:
        plans: What settings need.
        settings: Those to load with.
        subject: The model.
        wanted: What was asked for before its context was made smaller: an error names that, as lists of models do.
        force: It is to be loaded if the system can bear it.

    Raises:
        NotEnoughMemory: They do not fit, and either nothing is forced, or it would end this process.
    """
    short = shortage(plans(settings), subject.reserve)
    if short is None:
        return settings
    forced = replace(settings, map_file=True, repack=False) if short.memory.is_host else settings
    is_deadly = _is_deadly(plans(forced), subject.reserve)
    if force and not is_deadly:
        return forced
    others = _alternatives(plans, settings, subject)
    if is_deadly:
        others = chain(others, _forced(settings, subject))
    hint = f"{_suggestions(plans, settings, subject, others)} {_NOT_EVEN_FORCED if is_deadly else _FORCE}"
    named = wanted or settings
    raise NotEnoughMemory(_message(shortage(plans(named), subject.reserve) or short, named, subject), hint)


def shortage(plan: MemoryPlan, reserve: int = 0) -> Shortage | None:
    """The first memory that is too small for PLAN; the host's counts once, also for devices that share it."""
    host, *devices = plan.uses
    planned = _planned_for_host(plan)
    shortages = (
        Shortage(memory=host.memory, planned=planned, reserve=_error(plan, planned) + reserve),
        *(Shortage(memory=use.memory, planned=use.needed) for use in devices),
    )
    return next((short for short in shortages if short.needed > short.memory.free), None)


def _is_deadly(plan: MemoryPlan, reserve: int) -> bool:
    memory = plan.uses[0].memory
    planned = _planned_for_host(plan)
    return planned + _error(plan, planned) + reserve > memory.free + memory.swap


def _error(plan: MemoryPlan, planned: int) -> int:
    """By how much what is PLANNED for the host can be too low."""
    return 0 if plan.is_exact else int(_ERROR * planned)


def _planned_for_host(plan: MemoryPlan) -> int:
    """Memory of the host that the system cannot take back."""
    host = plan.uses[0]
    mapped = host.weights if plan.settings.map_file and not host.memory.counts_mapped else 0
    return sum(use.needed for use in plan.uses if use.memory.is_host) - mapped


def _message(short: Shortage, settings: PlanSettings, subject: Subject) -> str:
    memory, what = short.memory, f"a context of {settings.context:,} tokens"
    where = ""
    if not memory.is_host:
        what, where = f"{settings.gpu_layers} layers there and {what}", f" on {memory.name}"
    reason = f": {memory.limit}" if memory.limit else ""
    loading = f" and {to_size(short.reserve)} to load it" if short.reserve else ""
    planned, free = to_size(short.planned), to_size(memory.free)
    return f"{subject.name} needs {planned} of memory{where} with {what}{loading}, and {free} are free{reason}."


def _suggestions(plans: Plans, settings: PlanSettings, subject: Subject, others: Iterator[PlanSettings]) -> str:
    """The first three of OTHERS that fit, as they are typed."""
    fitting = (other for other in others if _fits(plans, other, subject))
    texts = list(islice(dict.fromkeys(_to_options(other, settings) for other in fitting), _SUGGESTIONS))
    smaller = "" if len(texts) == _SUGGESTIONS else _SMALLER if subject.name != "demo" else _NOTHING_SMALLER
    return " ".join(filter(None, [f"These fit: {', '.join(texts)}." if texts else "", smaller]))


def _fits(plans: Plans, settings: PlanSettings, subject: Subject) -> bool:
    return shortage(plans(settings), subject.reserve) is None


def _alternatives(plans: Plans, settings: PlanSettings, subject: Subject) -> Iterator[PlanSettings]:
    """Other settings, the ones that change least first; not all of them fit."""
    contexts = [replace(settings, context=context) for context in _contexts(settings.context, subject.trained)]
    fitting = [other for other in contexts if _fits(plans, other, subject)]
    types = [replace(settings, kv_type=kv_type) for kv_type in _SMALLER_TYPES if kv_type != settings.kv_type]
    both = [replace(other, kv_type=types[0].kv_type) for other in contexts if other not in fitting]
    return chain(fitting[:1], _on_other_devices(plans, settings, subject), types, fitting[1:], both)


def _forced(settings: PlanSettings, subject: Subject) -> list[PlanSettings]:
    contexts = _contexts(settings.context, subject.trained)
    return [replace(settings, context=context, map_file=True, repack=False) for context in contexts]


def _contexts(present: int, trained: int) -> Iterator[int]:
    """Powers of two below the present size and not above the trained one, from large to small."""
    size = 1 << max(1, min(present - 1, trained)).bit_length() - 1
    while size >= SMALLEST_CONTEXT:
        yield size
        size //= 2


def _on_other_devices(plans: Plans, settings: PlanSettings, subject: Subject) -> Iterator[PlanSettings]:
    if len(plans(settings).uses) == 1:
        return
    if subject.has_experts:
        yield replace(settings, gpu_layers=subject.layers + 1, cpu_moe=subject.layers)
    layers = (replace(settings, gpu_layers=layers) for layers in range(subject.layers + 1, -1, -1))
    yield from islice((other for other in layers if _fits(plans, other, subject)), 1)


def _to_options(other: PlanSettings, settings: PlanSettings) -> str:
    """What to type for OTHER, which differs from SETTINGS."""
    options = {
        f"--ctx {other.context}": other.context != settings.context,
        f"--kv-type {other.kv_type}": other.kv_type != settings.kv_type,
        f"--gpu-layers {other.gpu_layers}": other.gpu_layers != settings.gpu_layers,
        "--cpu-moe": other.cpu_moe != settings.cpu_moe,
        "--force": other.map_file != settings.map_file,
    }
    return " ".join(text for text, differs in options.items() if differs)
