"""The engine's own plan of a load, made in a subprocess: on some files llama.cpp ends the process.

Nothing is allocated. The header is read once for all plans that place the weights alike, for most of the time goes into
the vocabulary.
"""

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from localllm_magics.core.errors import (
    EngineCrashed,
    LoadFailed,
    LocalLLMError,
    NotEnoughMemory,
    SetupError,
    UnsupportedArchitecture,
)
from localllm_magics.core.memory_plan import HOST, DeviceUse, MemoryPlan, PlanSettings
from localllm_magics.core.sanitizer.control import to_printable
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.context import new_context
from localllm_magics.engines.kernel.library import Library, library
from localllm_magics.engines.kernel.llama_model import LlamaModel
from localllm_magics.engines.kernel.machine_memory import free_memory, machine_memory
from localllm_magics.engines.kernel.worker.log_breakdown import log_breakdown, output_buffer
from localllm_magics.engines.kernel.worker.memory_breakdown import Buffers, memory_breakdown
from localllm_magics.engines.kernel.worker.placement_search import fit_params, most_layers
from localllm_magics.engines.kernel.worker.process import (
    MEMORY_HINT,
    Exit,
    Limits,
    Record,
    begin_worker,
    report,
    run_in_subprocess,
)
from localllm_magics.engines.planner.fit import MARGIN

_ERRORS = {kind("").kind: kind for kind in (LoadFailed, NotEnoughMemory, SetupError, UnsupportedArchitecture)}
_MOST_SECONDS = 300


def exact_plans(
    lib: Library, path: Path, settings: Sequence[PlanSettings], stop: Stop, *, python: str | None = sys.executable
) -> list[MemoryPlan]:
    """The memory that llama.cpp itself computes for the file, with each of SETTINGS.

    Args:
        lib: The build.
        path: The file; of a split model, the first part.
        settings: Those that place the weights alike cost little more than one of them.
        stop: Ends it.
        python: The program that runs it; there is none where Python is part of another program.

    Raises:
        LoadFailed: llama.cpp refuses the file, or one of SETTINGS.
        UnsupportedArchitecture: This build does not know the architecture.
        EngineCrashed: llama.cpp crashed.
        NotEnoughMemory: Memory ran out.
        SetupError: A subprocess cannot be run, or has failed.
        Stopped: STOP was set.
    """
    found = _ask(lib, path, {"task": "plans", "settings": list(map(asdict, settings))}, stop, python)
    machine = machine_memory(lib)
    return [
        MemoryPlan(
            settings=each,
            uses=tuple(
                DeviceUse(memory=memory, **uses.get(memory.name, {})) for memory in (machine.host, *machine.devices)
            ),
            is_exact=True,
        )
        for each, uses in zip(settings, found, strict=True)
    ]


def llama_placement(
    lib: Library,
    path: Path,
    settings: PlanSettings,
    stop: Stop,
    *,
    margin: int = MARGIN,
    python: str | None = sys.executable,
) -> PlanSettings:
    """SETTINGS with the layers, and the tensors beside them, that llama.cpp itself would put on the GPUs now.

    Args:
        lib: The build.
        path: The file; of a split model, the first part.
        settings: With `cpu_moe`, as many whole layers as fit.
        stop: Ends it.
        margin: Bytes that stay free on each device.
        python: The program that runs it; there is none where Python is part of another program.

    Raises:
        LocalLLMError: See `exact_plans`.
        Stopped: STOP was set.
    """
    settings = replace(settings, gpu_layers=0, overrides=(), split=())
    if not lib.supports_gpu:
        return settings
    [found] = _ask(lib, path, {"task": "placement", "settings": [asdict(settings)], "margin": margin}, stop, python)
    return _settings(found)


def _ask(
    lib: Library, path: Path, question: Mapping[str, object], stop: Stop, python: str | None
) -> list[dict[str, Any]]:
    """What the subprocess finds for QUESTION."""
    if python is None:
        raise SetupError(
            f"{to_printable(path.name)} cannot be planned: there is no Python to run.", "Type: %llm doctor"
        )
    endpoints = [device.description for device in lib.devices() if re.fullmatch(r"RPC\d+", device.name)]
    text = json.dumps({**question, "path": os.fspath(path), "rpc": list(dict.fromkeys(endpoints))})
    limits = Limits(seconds=_MOST_SECONDS, memory_bytes=max(1 << 30, free_memory()))
    try:
        with run_in_subprocess([python, "-m", __name__, text], stop, limits) as process:
            records = list(process.records())
    except OSError as exc:
        raise SetupError(
            f"{to_printable(path.name)} could not be planned in a subprocess: {exc}", "Type: %llm doctor"
        ) from exc
    assert process.exit is not None  # noqa: S101 - all records are read
    return _found(path, records, process.exit)


def _found(path: Path, records: Sequence[Record], end: Exit) -> list[dict[str, Any]]:
    for record in records:
        if record.get("event") == "failed":
            raise _ERRORS[str(record["kind"])](str(record["message"]), str(record["hint"]))
    if end.is_success:
        return [dict(record) for record in records if record.get("event") == "found"]
    planned = f"{to_printable(path.name)} was planned in a subprocess"
    if end.ran_out_of_memory:
        raise NotEnoughMemory(f"Memory ran out when {planned}.", MEMORY_HINT)
    reason = f"it took too much {end.exceeded}" if end.exceeded else end.reason
    why = f"when {planned}{reason and ': '}{reason}."
    if not end.is_crash:
        raise SetupError(f"There was an error {why}", "Type: %llm doctor")
    raise EngineCrashed(f"llama.cpp crashed {why}", "Try another file of the model.")


def _main(question: dict[str, Any]) -> None:
    lib, path = library(), Path(question["path"])
    try:
        for endpoint in question["rpc"]:
            lib.add_rpc_server(endpoint)
        settings = [_settings(each) for each in question["settings"]]
        if question["task"] == "plans":
            for _, uses in sorted(_plans(lib, path, settings), key=lambda plan: plan[0]):
                report(event="found", **uses)
        else:
            report(event="found", **asdict(_placement(lib, path, settings[0], question["margin"])))
    except LocalLLMError as exc:
        report(event="failed", kind=exc.kind, message=exc.message, hint=exc.hint)


def _plans(
    lib: Library, path: Path, settings: Sequence[PlanSettings]
) -> Iterator[tuple[int, dict[str, dict[str, int]]]]:
    """The index of each of SETTINGS and the uses by device."""

    def of_weights(each: tuple[int, PlanSettings]) -> PlanSettings:
        return replace(each[1], context=0, kv_type="f16", batch=0, flash_attention=True)

    for weights, alike in groupby(sorted(enumerate(settings), key=lambda each: repr(of_weights(each))), of_weights):
        model = LlamaModel(lib, path, weights, stop=Stop(), allocate=False)
        for index, each in alike:
            yield index, _uses(lib, path, model, each)
        model.close()


def _uses(lib: Library, path: Path, model: LlamaModel, settings: PlanSettings) -> dict[str, dict[str, int]]:
    """The memory of a context with SETTINGS, by device."""
    context, log = new_context(lib, model, settings, threads=1)
    buffers = memory_breakdown(lib, context) or log_breakdown(lib, path, settings, model.log, log)
    lib.api.llama_free(context)
    mapped = Buffers(device="", weights=_mapped(model, settings, buffers))
    uses: dict[str, dict[str, int]] = {}
    for each in (*buffers, output_buffer(log), mapped):
        use = uses.setdefault(each.device or HOST, {"weights": 0, "kv_cache": 0, "compute": 0})
        use["weights"] += each.weights
        use["kv_cache"] += each.kv_cache
        use["compute"] += each.compute
    return uses


def _mapped(model: LlamaModel, settings: PlanSettings, buffers: Sequence[Buffers]) -> int:
    """Bytes of the file that are mapped beside a repacked copy of them."""
    copied = sum(each.weights for each in buffers if not each.is_plain) if settings.map_file else 0
    # The output projection of some models is the embedding once more, which is mapped anyway.
    twice = sum(each.weights for each in buffers) - model.size_bytes
    return max(0, copied - (0 if settings.gpu_layers else twice))


def _placement(lib: Library, path: Path, settings: PlanSettings, margin: int) -> PlanSettings:
    found = None if settings.cpu_moe else fit_params(lib, path, settings, margin)
    if found is not None:
        return found
    model = LlamaModel(lib, path, settings, stop=Stop(), allocate=False)
    everything = model.layers + 1
    model.close()
    free = {device.name: device.free_bytes - margin for device in lib.devices() if device.is_gpu}

    def fits(layers: int) -> bool:
        [(_, uses)] = _plans(lib, path, [replace(settings, gpu_layers=layers)])
        return all(sum(use.values()) <= free.get(name, sum(use.values())) for name, use in uses.items())

    return replace(settings, gpu_layers=most_layers(everything, fits))


def _settings(values: Mapping[str, Any]) -> PlanSettings:
    names = PlanSettings.__dataclass_fields__
    given = {name: value for name, value in values.items() if name in names}
    return PlanSettings(**{**given, "overrides": tuple(given["overrides"]), "split": tuple(given["split"])})


if __name__ == "__main__":
    begin_worker()
    _main(json.loads(sys.argv[1]))
