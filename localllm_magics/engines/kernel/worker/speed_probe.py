"""Measures how fast this machine computes, in a subprocess; see `engines.forecast.calibrate`."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from localllm_magics.core.ggml_types import MULTIPLIED_TYPES
from localllm_magics.core.memory_plan import CHUNK
from localllm_magics.engines.forecast.calibration import device_to_json
from localllm_magics.engines.forecast.speeds import Attention, Decode, Prompt, Timings, device_speed
from localllm_magics.engines.kernel.library import library
from localllm_magics.engines.kernel.worker.hollow_model import HollowShape, layer_bytes
from localllm_magics.engines.kernel.worker.process import begin_worker, report
from localllm_magics.engines.kernel.worker.tiny_bench import DEEP, Noise, Place, TinyBench

_NARROW, _WIDE = 1024, 2048
_PLAIN = "F16"
_HEADS = (64, 256), (128, 1024)  # width of a head, and of the keys: as small and as large models have them
_VOCABULARY = 1 << 16
_TOKENS = 8  # of which the mean is what an answer has: now and then the threads wait for each other
_MIXED = HollowShape(type=_PLAIN, layers=2, width=1024, inner_width=768, experts=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured.

    Args:
        size: Bytes of weights, more than the caches of a CPU hold.
        prompt: Tokens of a prompt.
        seconds: For each rate, the most.
    """

    size: float = 256e6
    prompt: int = 128
    seconds: float = 0.2


def measure(place: Place, types: Sequence[str], effort: Effort, progress: Callable[[float], None]) -> Timings:
    """The times of all TYPES at PLACE."""
    decodes, prompts, experts = {}, {}, {}
    for number, name in enumerate(types):
        shapes = [HollowShape(type=name, width=width, inner_width=3 * width) for width in (_NARROW, _WIDE)]
        decodes[name] = [_decode(place, shape, effort) for shape in shapes]
        prompts[name] = _prompt(place, HollowShape(type=name, layers=2, width=_WIDE, inner_width=3072), effort)
        experts[name] = _prompt(place, replace(_MIXED, type=name), replace(effort, prompt=effort.prompt // 4))
        progress((number + 1) / (len(types) + 1))
    small = _prompt(place, HollowShape(type=types[0], layers=4, width=512, inner_width=1536), effort)
    visit, vocabulary = _constants(place, effort)
    return Timings(
        decodes=decodes,
        prompts=prompts,
        experts=experts,
        small_prompt=small,
        attentions=[_attention(place, *widths, effort) for widths in _HEADS],
        visit=visit,
        vocabulary=vocabulary,
    )


def _decode(place: Place, shape: HollowShape, effort: Effort) -> Decode:
    each, _ = layer_bytes(shape)
    layers = max(2, round(effort.size / each))
    with TinyBench(place, replace(shape, layers=layers)) as bench:
        bench.prompt(1)

        def decode() -> float:
            return fmean(bench.decode() for _ in range(_TOKENS))

        return Decode(layers=layers, layer_bytes=each, seconds=bench.fastest(decode, effort.seconds, enough=3))


def _prompt(place: Place, shape: HollowShape, effort: Effort) -> Prompt:
    each, feed_forward = layer_bytes(shape)
    with TinyBench(place, shape) as bench:
        bench.prompt(effort.prompt)  # the first takes its memory
        rest = bench.fastest(bench.decode, effort.seconds / 4)
        seconds = bench.fastest(lambda: sum(bench.prompt(effort.prompt)), effort.seconds, enough=3)
    return Prompt(
        layers=shape.layers,
        width=shape.width,
        # Only the last token leaves the attention of the last layer, and that costs what a decode does.
        attention_bytes=shape.layers * (each - feed_forward),
        other_bytes=(shape.layers - 1) * feed_forward,
        tokens=effort.prompt,
        seconds=seconds - min(rest, seconds / 2),
    )


def _attention(place: Place, head_width: int, kv_width: int, effort: Effort) -> Attention:
    # A large vocabulary: what is read for it takes the KV cache out of the CPU's, as large layers do.
    rows = round(effort.size / 4 / _NARROW)
    shape = HollowShape(
        type=_PLAIN,
        layers=4,
        width=_NARROW,
        inner_width=256,
        head_width=head_width,
        kv_width=kv_width,
        vocabulary=max(256, rows),
    )
    with TinyBench(place, shape) as bench:
        bench.prompt(1)
        shallow = bench.fastest(bench.decode, effort.seconds)
        rounds = [bench.prompt(DEEP) for _ in range(2)]
        deep = bench.fastest(bench.decode, effort.seconds)
    first, *_, last = map(min, zip(*rounds, strict=True))
    return Attention(
        width=shape.width,
        cache_bytes=2 * 2 * shape.kv_width,
        decode=max(0.0, deep - shallow) / (shape.layers * DEEP),
        prompt=max(0.0, last - first) / (shape.layers * CHUNK * (DEEP - CHUNK)),
    )


def _constants(place: Place, effort: Effort) -> tuple[float, float]:
    """Seconds of a token of next to no model, and of each token that the next one is chosen from."""
    shape = HollowShape(type="Q4_0", layers=1, width=32, inner_width=32, head_width=32, kv_width=32)
    with TinyBench(place, shape) as bench:
        bench.prompt(1)
        visit = bench.fastest(bench.decode, effort.seconds, enough=50)
    with TinyBench(place, replace(shape, vocabulary=_VOCABULARY)) as bench:
        bench.prompt(1)
        if not place.is_gpu:
            return visit, bench.fastest(bench.choose, effort.seconds, enough=10) / _VOCABULARY
        # A GPU computes on while a token is chosen, and has to bring what it is chosen from.
        return visit, max(0.0, bench.fastest(bench.decode, effort.seconds, enough=10) - visit) / _VOCABULARY


def probe(place: Place, types: Sequence[str], effort: Effort = Effort()) -> None:
    """Report the speed of the CPU, and of GPUs where there are any."""
    known = [name for name in types if name in MULTIPLIED_TYPES]
    places = [place, *([replace(place, is_gpu=True, noise=Noise())] if place.lib.supports_gpu else [])]
    for number, each in enumerate(places):

        def progress(part: float, number: int = number) -> None:
            report(event="progress", part=(number + part) / len(places))

        speed = device_speed(measure(each, known, effort, progress))
        report(event="device", is_gpu=each.is_gpu, speed=device_to_json(speed), noise=each.noise.ratio)


def _main(question: dict[str, Any]) -> None:
    lib = library()
    for endpoint in question["rpc"]:
        lib.add_rpc_server(endpoint)
    probe(Place(lib=lib, repack=question["repack"]), question["types"], Effort(**question.get("effort", {})))


if __name__ == "__main__":
    begin_worker()
    _main(json.loads(sys.argv[1]))
