"""What is computed for a token, and where."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from localllm_magics.core.memory_plan import HOST, PlanSettings
from localllm_magics.core.model_shape import LayerShape, ModelShape, TypeSizes
from localllm_magics.engines.forecast.calibration import Calibration, DeviceSpeed
from localllm_magics.engines.planner.overrides import moves

_ATTENTION, _FEED_FORWARD = 4, 3  # matrices
_NOTHING = (0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrices:
    """Weights that a device computes with.

    Args:
        sizes: Of all of them.
        count: How many matrices they are.
        part: Of the bytes of SIZES, what a token needs.
        is_mixed: They are of experts.
    """

    device: DeviceSpeed
    sizes: TypeSizes
    count: float
    part: float = 1.0
    is_mixed: bool = False

    @property
    def decode_seconds(self) -> float:
        """Of a token."""
        return self.device.decode_seconds(self.sizes, self.count, self.part)

    @property
    def prompt_seconds(self) -> float:
        """Of a token of a prompt."""
        return self.device.prompt_seconds(self.sizes, self.part, is_mixed=self.is_mixed)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWork:
    """Layers that are alike and on the same device.

    Args:
        number: How many.
        is_last: Only the last token of a prompt leaves the attention of the last layer.
        visits: How often the computing comes back to DEVICE from experts or feed-forward matrices on the CPU.
    """

    number: int
    kind: LayerShape
    device: DeviceSpeed
    attention: Matrices
    others: tuple[Matrices, ...]
    is_last: bool
    visits: int


def layers(shape: ModelShape, settings: PlanSettings, calibration: Calibration) -> Iterator[LayerWork]:
    """The layers of SHAPE, alike ones together."""
    total = len(shape.order)
    first_on_gpu = total if calibration.gpu is None else total + 1 - settings.gpu_layers
    stay = {
        move.layer: (move.feed_forward, move.experts)
        for move in moves(settings, total)
        if move.device == HOST and move.layer >= first_on_gpu
    }
    alike = Counter(
        (kind, number >= first_on_gpu, stay.get(number, _NOTHING), number == total - 1)
        for number, kind in enumerate(shape.order)
    )
    for (index, is_on_gpu, on_cpu, is_last), number in alike.items():
        kind, device = shape.kinds[index], _device(calibration, is_gpu=is_on_gpu)
        others = tuple(_others(shape, kind, (device, calibration.cpu), on_cpu))
        yield LayerWork(
            number=number,
            kind=kind,
            device=device,
            attention=Matrices(device=device, sizes=kind.attention, count=_ATTENTION),
            others=others,
            is_last=is_last,
            visits=int(any(part.device is not device for part in others)),
        )


def output(shape: ModelShape, settings: PlanSettings, calibration: Calibration) -> Matrices:
    """The matrix that gives the logits, which is the first to go to a GPU."""
    return Matrices(device=_device(calibration, is_gpu=settings.gpu_layers > 0), sizes=shape.output, count=1)


def _others(
    shape: ModelShape, kind: LayerShape, devices: tuple[DeviceSpeed, DeviceSpeed], on_cpu: tuple[float, float]
) -> Iterator[Matrices]:
    """What a layer of KIND has beside the attention.

    Args:
        shape: The model.
        kind: The layer.
        devices: That of the layer, and the CPU.
        on_cpu: Of feed-forward matrices and of experts, the parts that stay there.
    """
    (dense, experts), used = on_cpu, shape.experts_used / max(1, shape.experts)
    parts = (
        (kind.feed_forward, (1 - dense, dense), 1.0, 1),
        (kind.experts, (1 - experts, experts), used, shape.experts_used),
    )
    for sizes, shares, part, times in parts:
        for device, share in zip(devices, shares, strict=True):
            if sizes and share:
                yield Matrices(
                    device=device,
                    sizes=sizes,
                    count=_FEED_FORWARD * times * share,
                    part=part * share,
                    is_mixed=sizes is kind.experts,
                )


def _device(calibration: Calibration, *, is_gpu: bool) -> DeviceSpeed:
    return calibration.gpu if is_gpu and calibration.gpu is not None else calibration.cpu
