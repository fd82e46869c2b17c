"""Models, plans and what is loaded, as the page gets them."""

from collections.abc import Iterable
from pathlib import Path

from localllm_magics.catalog.sources.home import Home
from localllm_magics.core.memory_plan import Fit, Forecast, MemoryPlan, PlanSettings
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.model import Model
from localllm_magics.widgets.protocol import Fitting, Loaded, Options, Planned, Row, Settings


def to_row(info: ModelInfo) -> Row:
    """A row of the list; what fits nowhere has no speed."""
    is_too_big = info.fit is not None and info.fit.verdict == "too big"
    forecast = None if is_too_big else info.forecast
    return Row(
        reference=info.reference,
        name=info.name,
        source=info.source,
        kind=info.kind,
        problem=info.problem,
        path=None if info.path is None else _shown(info.path),
        size=info.size_bytes,
        parameters=info.parameters,
        architecture=info.architecture,
        quantization=info.quantization,
        context=info.context,
        layers=info.layers,
        experts=0 if info.shape is None else info.shape.experts,
        template=info.has_chat_template,
        local=info.engine == "kernel",
        fit=None if info.fit is None else _fitting(info.fit),
        speed=None if forecast is None else forecast.tokens_per_second,
        prompt_speed=None if forecast is None else forecast.prompt_tokens_per_second,
    )


def to_planned(plan: MemoryPlan, forecast: Forecast | None) -> Planned:
    """A plan with its FORECAST; the host comes first."""
    return Planned(
        settings=to_settings(plan.settings),
        uses=[
            {
                "device": use.memory.name,
                "weights": use.weights,
                "kv_cache": use.kv_cache,
                "compute": use.compute,
                "free": use.memory.free,
                "total": use.memory.total,
            }
            for use in plan.uses
        ],
        exact=plan.is_exact,
        speed=None if forecast is None else forecast.tokens_per_second,
        prompt_speed=None if forecast is None else forecast.prompt_tokens_per_second,
    )


def to_settings(settings: PlanSettings) -> Settings:
    """What the page sets of SETTINGS."""
    return Settings(
        context=settings.context,
        gpu_layers=settings.gpu_layers,
        cpu_moe=settings.cpu_moe,
        kv_type=settings.kv_type,
    )


def to_loaded(models: Iterable[Model]) -> list[Loaded]:
    """What is known of MODELS, which were loaded or have answered."""
    return [_loaded(model) for model in models]


def _loaded(model: Model) -> Loaded:
    status = model.status()
    return Loaded(
        reference=model.info.reference,
        memory=status.memory_bytes,
        device=status.model.device,
        context=status.model.context,
        gpu_layers=status.model.gpu_layers,
        options=_options(status.options),
    )


def _options(options: LoadOptions) -> Options:
    """OPTIONS as far as the page sets them, in numbers."""
    layers, experts = options.gpu_layers, options.cpu_moe
    return Options(
        context=options.ctx,
        gpu_layers=layers if isinstance(layers, int) else None,
        cpu_moe=experts if isinstance(experts, int) else None,
        kv_type=options.kv_type,
    )


def _shown(path: Path) -> str:
    """PATH as people write it, without the name of their home folder."""
    home = Home.current().folder
    return str(Path("~", path.relative_to(home))) if path.is_relative_to(home) else str(path)


def _fitting(fit: Fit) -> Fitting:
    return Fitting(
        verdict=fit.verdict,
        needed=fit.needed_bytes,
        free=fit.free_bytes,
        max_gpu_layers=fit.max_gpu_layers,
        context=fit.context,
    )
