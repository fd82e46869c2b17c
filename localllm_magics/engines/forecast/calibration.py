"""How fast this machine computes, as the engine itself measured it with tiny models."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields

from localllm_magics.core.model_shape import TypeSizes

_OTHER_SHARE = 0.02
"""Of a part's bytes, those of types that need not have been measured, such as norms."""
_STAND_INS = {"F32": "F16"}
"""Types whose bytes are computed with equally fast."""
_MOST_TYPES = 100
_NOISY = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeSpeed:
    """How fast a device computes with weights of a type.

    Args:
        bytes_per_second: Of weights that a token reads, in decode.
        matrix_seconds: For a token, of each matrix beside its bytes.
        prompt_bytes_per_second: Of weights times tokens, in prompt processing.
        expert_bytes_per_second: The same of experts, which get few tokens each.
    """

    bytes_per_second: float
    matrix_seconds: float
    prompt_bytes_per_second: float
    expert_bytes_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpeed:
    """How fast the CPU is, or all GPUs together, over which llama.cpp spreads the layers.

    Args:
        types: By the name of the ggml type.
        visit_seconds: Each time that the computing of a token comes to this device.
        vocabulary_seconds: For a token, of each one that it is chosen from.
        attention_seconds: For a token, of each earlier one, layer and element of the queries.
        cache_byte_seconds: Of a byte of the KV cache that a token reads.
        prompt_attention_seconds: As `attention_seconds`, in prompt processing, all that is read included.
        prompt_layer_seconds: For a token of a prompt, of each layer and element of its embedding: norms and the like.
    """

    types: Mapping[str, TypeSpeed]
    visit_seconds: float
    vocabulary_seconds: float
    attention_seconds: float
    cache_byte_seconds: float
    prompt_attention_seconds: float
    prompt_layer_seconds: float

    def decode_seconds(self, sizes: TypeSizes, matrices: float, part: float = 1.0) -> float:
        """Of a token that reads this PART of SIZES, which are of MATRICES.

        Raises:
            LookupError: Their types were not measured.
        """
        return sum(
            part * size / speed.bytes_per_second + share * matrices * speed.matrix_seconds
            for speed, size, share in self._speeds(sizes)
        )

    def prompt_seconds(self, sizes: TypeSizes, part: float = 1.0, *, is_mixed: bool = False) -> float:
        """Of a token of a prompt with this PART of SIZES, which are of experts where it IS_MIXED.

        Raises:
            LookupError: Their types were not measured.
        """
        return sum(
            part * size / (speed.expert_bytes_per_second if is_mixed else speed.prompt_bytes_per_second)
            for speed, size, _ in self._speeds(sizes)
        )

    def missing_types(self, sizes: TypeSizes) -> set[str]:
        """The types of SIZES that would have to be measured."""
        total = sum(size for _, size in sizes)
        return {name for name, size in sizes if self._speed(name) is None and size > _OTHER_SHARE * total}

    def _speeds(self, sizes: TypeSizes) -> Iterable[tuple[TypeSpeed, int, float]]:
        """For each type its speed, bytes and share of all bytes; the little that was not measured is taken as slow."""
        total = sum(size for _, size in sizes)
        for name, size in sizes:
            speed = self._speed(name)
            if speed is None:
                if size > _OTHER_SHARE * total:
                    raise LookupError(name)
                speed = min(self.types.values(), key=lambda known: known.bytes_per_second)
            yield speed, size, size / total if total else 0.0

    def _speed(self, name: str) -> TypeSpeed | None:
        return self.types.get(name) or self.types.get(_STAND_INS.get(name, ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The speed of this machine.

    Args:
        gpu: None where the build has no GPU.
        measured_at: Seconds since the epoch.
        corrections: What measured answers have taught, as factors of rates; see `learning`.
        noise: What a token of a tiny model usually took, over the fastest: other programs make it more than 1.
    """

    cpu: DeviceSpeed
    gpu: DeviceSpeed | None = None
    measured_at: float = 0.0
    corrections: Mapping[str, float] = field(default_factory=dict)
    noise: float = 1.0

    @property
    def is_noisy(self) -> bool:
        """Whether the machine was too busy for its speed to show."""
        return self.noise > _NOISY


def device_to_json(device: DeviceSpeed) -> dict[str, object]:
    """DEVICE as a JSON object."""
    return {
        **{each.name: getattr(device, each.name) for each in fields(device)},
        "types": {name: asdict(speed) for name, speed in device.types.items()},
    }


def device_from_json(stored: object) -> DeviceSpeed:
    """The device that `device_to_json` wrote.

    Raises:
        ValueError: STORED is none.
    """
    values = dict(_object(stored))
    types = _object(values.pop("types", None))
    if not 0 < len(types) <= _MOST_TYPES:
        raise ValueError("types")
    speeds = {name: TypeSpeed(**_numbers(TypeSpeed, _object(speed))) for name, speed in types.items()}
    return DeviceSpeed(types=speeds, **_numbers(DeviceSpeed, values))


def _object(stored: object) -> Mapping[str, object]:
    if not isinstance(stored, dict):
        raise ValueError(stored)  # noqa: TRY004 - what a file holds is a value
    return stored


def _numbers(kind: type[TypeSpeed | DeviceSpeed], stored: Mapping[str, object]) -> dict[str, float]:
    """The numbers of KIND in STORED: seconds are 0 or more, rates more than 0."""
    numbers = {}
    for name in (each.name for each in fields(kind) if each.name != "types"):
        value = stored.get(name)
        if not isinstance(value, float) or not math.isfinite(value):
            raise ValueError(name)
        if value < 0 or (value == 0 and name.endswith("_per_second")):
            raise ValueError(name)
        numbers[name] = value
    return numbers
