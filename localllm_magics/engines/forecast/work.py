"""What is computed for a token, and where."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from localllm_magics.core.memory_plan import HOST, PlanSettings
from localllm_magics.core.model_shape import LayerShape, ModelShape, TypeSizes
from localllm_magics.engines.forecast.calibration import Calibration, DeviceSpeed
from localllm_magics.engines.planner.overrides import moves

_ATTENTION, _FEED_FORWARD = 4, 3  # matrices


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
    first_on_gpu = total + 1 - settings.gpu_layers if calibration.gpu is not None else total
    shares = {move.layer: (move.feed_forward, move.experts) for move in moves(settings, total) if move.device == HOST}
    alike = Counter(
        (kind, number >= first_on_gpu, shares.get(number, (0.0, 0.0)), number == total - 1)
        for number, kind in enumerate(shape.order)
    )
    used = shape.experts_used / shape.experts if shape.experts else 1.0
    for (index, is_on_gpu, (dense, experts), is_last), number in alike.items():
        kind, cpu = shape.kinds[index], calibration.cpu
        device = calibration.gpu if is_on_gpu and calibration.gpu is not None else cpu
        matrices = _FEED_FORWARD * shape.experts_used
        parts = ((kind.feed_forward, dense, 1.0, _FEED_FORWARD), (kind.experts, experts, used, matrices))
        yield LayerWork(
            number=number,
            kind=kind,
            device=device,
            attention=Matrices(device=device, sizes=kind.attention, count=_ATTENTION),
            others=tuple(
                Matrices(
                    device=place,
                    sizes=sizes,
                    count=count * share,
                    part=share * part,
                    is_mixed=sizes is kind.experts,
                )
                for sizes, on_cpu, part, count in parts
                for place, share in (((device, 1 - on_cpu), (cpu, on_cpu)) if device is not cpu else ((cpu, 1.0),))
                if sizes and share
            ),
            is_last=is_last,
            visits=int(device is not cpu and bool((kind.feed_forward and dense) or (kind.experts and experts))),
        )


def output(shape: ModelShape, settings: PlanSettings, calibration: Calibration) -> Matrices:
    """The matrix that gives the logits, which is the first to go to a GPU."""
    is_on_gpu = calibration.gpu is not None and settings.gpu_layers > 0
    device = calibration.gpu if is_on_gpu and calibration.gpu is not None else calibration.cpu
    return Matrices(device=device, sizes=shape.output, count=1)
