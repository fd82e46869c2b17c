"""The rates of a model that need not be loaded, from its shape and the speed of the machine."""

from localllm_magics.core.memory_plan import FORECAST_PROMPT, Forecast, PlanSettings
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.engines.forecast.calibration import Calibration, DeviceSpeed
from localllm_magics.engines.forecast.learning import correction
from localllm_magics.engines.forecast.work import layers, output
from localllm_magics.engines.planner.kv_cache import row_bytes


def forecast(shape: ModelShape, settings: PlanSettings, calibration: Calibration, depth: int = 0) -> Forecast | None:
    """How fast the model of SHAPE will be; None where a type of its weights was not measured.

    Args:
        shape: The model.
        settings: How it is loaded.
        calibration: The machine.
        depth: Tokens in the context, before those whose rate is forecast.
    """
    try:
        decode = decode_seconds(shape, settings, calibration, depth)
        prompt = prompt_seconds(shape, settings, calibration, tokens=FORECAST_PROMPT, cached=depth)
    except LookupError:
        return None
    return Forecast(
        tokens_per_second=correction("decode", shape, settings, calibration) / decode,
        prompt_tokens_per_second=correction("prompt", shape, settings, calibration) * FORECAST_PROMPT / prompt,
    )


def missing_types(shape: ModelShape, calibration: Calibration) -> set[str]:
    """The types that must be measured before the model of SHAPE can be forecast."""
    parts = [part for kind in shape.kinds for part in (kind.attention, kind.feed_forward, kind.experts)]
    return {name for sizes in (*parts, shape.output) for name in calibration.cpu.missing_types(sizes)}


def decode_seconds(shape: ModelShape, settings: PlanSettings, calibration: Calibration, depth: float) -> float:
    """Of a token with DEPTH others before it.

    Raises:
        LookupError: A type was not measured.
    """
    logits = output(shape, settings, calibration)
    seconds = logits.decode_seconds + shape.vocabulary * logits.device.vocabulary_seconds
    seconds += _visit_seconds(logits.device, calibration)
    for layer in layers(shape, settings, calibration):
        kind, device = layer.kind, layer.device
        earlier = min(depth, kind.window or depth)
        row = row_bytes(kind.key_width, settings) + row_bytes(kind.value_width, settings)
        cached = row * earlier + 2 * kind.state_bytes  # a state is read and written
        each = layer.attention.decode_seconds + sum(part.decode_seconds for part in layer.others)
        each += earlier * kind.query_width * device.attention_seconds + cached * device.cache_byte_seconds
        seconds += layer.number * (each + layer.visits * device.visit_seconds)
    return seconds


def prompt_seconds(
    shape: ModelShape, settings: PlanSettings, calibration: Calibration, *, tokens: int, cached: float = 0
) -> float:
    """Of a prompt of TOKENS after those that are CACHED.

    Raises:
        LookupError: A type was not measured.
    """
    logits = output(shape, settings, calibration)
    per_batch = logits.decode_seconds + _visit_seconds(logits.device, calibration)
    each = 0.0
    for layer in layers(shape, settings, calibration):
        device = layer.device
        attention = device.prompt_attention_seconds * layer.kind.query_width
        each += layer.number * (
            layer.attention.prompt_seconds
            + attention * _mean_earlier(cached, tokens, layer.kind.window)
            + device.prompt_layer_seconds * shape.width * (0.5 if layer.is_last else 1.0)
        )
        if not layer.is_last:
            each += layer.number * sum(part.prompt_seconds for part in layer.others)
        per_batch += layer.number * layer.visits * device.visit_seconds
    return tokens * each + per_batch * tokens / max(1, min(settings.batch, tokens))


def _visit_seconds(device: DeviceSpeed, calibration: Calibration) -> float:
    """Of going to DEVICE and back for a token: it begins and ends on the CPU."""
    return calibration.cpu.visit_seconds + (0.0 if device is calibration.cpu else device.visit_seconds)


def _mean_earlier(cached: float, tokens: int, window: int) -> float:
    """How many tokens those after CACHED see, on average, through WINDOW."""
    if not window or cached + tokens <= window:
        return cached + tokens / 2
    growing = max(0.0, window - cached)  # tokens that see fewer than WINDOW
    return (growing * (cached + growing / 2) + (tokens - growing) * window) / tokens
