import sys
from pathlib import Path

import pytest

from localllm_magics.catalog.model_list import KINDS, ModelList, in_order, to_fit, to_forecast
from localllm_magics.core.errors import BadOption, SetupError
from localllm_magics.core.memory_plan import Fit, Forecast, Verdict
from localllm_magics.core.model_info import Kind, ModelInfo, Source


def model(
    reference: str,
    source: Source = "folder",
    *,
    verdict: Verdict | None = None,
    kind: Kind | None = "chat",
    problem: str | None = None,
) -> ModelInfo:
    fit = None if verdict is None else Fit(verdict=verdict, needed_bytes=12_300_000_000, free_bytes=8_100_000_000)
    return ModelInfo(
        reference=reference,
        name=reference.title(),
        source=source,
        path=Path(reference),
        kind=kind,
        fit=fit,
        problem=problem,
    )


MODELS = [
    model("small.gguf", verdict="cpu"),
    model("huge.gguf", verdict="too big"),
    model("bad.gguf", problem="bad.gguf is empty.", kind=None),
    model("embed", "ollama", kind="embedding", verdict="cpu"),
    model("far", "daemon", kind=None),
]


def test_a_list_shows_as_a_table() -> None:
    lines = repr(ModelList(MODELS)).splitlines()

    assert lines[0].split() == (
        "Reference Name Architecture Parameters Quantization Size Context Kind Fit Forecast Source".split()
    )
    assert lines[2].split() == ["small.gguf", "Small.Gguf", "chat", "CPU:", "12.3", "GB", "folder"]
    assert lines[4].split() == ["bad.gguf", "Bad.Gguf", "unreadable", "folder"]
    assert lines[-1] == "bad.gguf is empty."


def test_a_list_shows_as_its_table() -> None:
    models, printed = ModelList(MODELS), list[str]()

    class Printer:
        def text(self, text: str) -> None:
            printed.append(text)

    models._repr_pretty_(Printer(), is_cyclic=False)

    assert models._repr_markdown_() == models.to_table().to_markdown()
    assert printed == [models.to_table().to_text()]


def test_a_model_of_which_nothing_is_known_is_a_row() -> None:
    models = ModelList([ModelInfo(reference="x", name="x", source="daemon")])

    assert models.to_table().rows == (("x", "x", *[""] * 8, "daemon"),)


def test_a_long_list_is_shown_in_part_and_says_how_to_see_more() -> None:
    models = ModelList(
        [ModelInfo(reference=f"m{number}", name=f"Name {number}", source="daemon") for number in range(100_000)],
        notes=["A note."],
    )

    shown = str(models)

    assert len(shown) < 20_000
    assert shown.endswith("These are 100 of 100,000. For those with a word in their names: %llm models WORD\nA note.")
    assert [info.reference for info in models.with_name("NAME 9999")][:2] == ["m9999", "m99990"]
    assert models.with_name("m777").notes == ("A note.",)
    assert "These are" not in str(models.with_name("M7777"))


def test_of_many_problems_the_first_ones_are_told() -> None:
    models = ModelList([model(f"{number}.gguf", problem=f"{number} is empty.") for number in range(12)])

    assert models.to_table().notes == (*(f"{number} is empty." for number in range(10)), "2 more cannot be read.")


def test_what_can_be_used_comes_first() -> None:
    found = [info.reference for info in in_order(reversed(MODELS))]

    assert found == ["small.gguf", "far", "huge.gguf", "embed", "bad.gguf"]


@pytest.mark.parametrize(
    ("models", "found"),
    [
        pytest.param(ModelList(MODELS).only(), [info.reference for info in MODELS], id="all"),
        pytest.param(ModelList(MODELS).with_name(""), [info.reference for info in MODELS], id="no word"),
        pytest.param(ModelList(MODELS).only(source="ollama"), ["embed"], id="a source"),
        pytest.param(ModelList(MODELS).only(kind="chat"), ["small.gguf", "huge.gguf"], id="a kind"),
        pytest.param(ModelList(MODELS).only(fits=True, kind="chat"), ["small.gguf"], id="a kind that fits"),
        pytest.param(ModelList(MODELS).only(fits=False), ["huge.gguf", "bad.gguf"], id="what does not fit"),
        pytest.param(ModelList(MODELS).only(fits=True), ["small.gguf", "embed", "far"], id="what may fit"),
    ],
)
def test_a_list_is_filtered(models: ModelList, found: list[str]) -> None:
    assert [info.reference for info in models] == found


@pytest.mark.parametrize(
    ("models", "note"),
    [
        pytest.param(ModelList(MODELS).only().with_name("x y"), "No model has 'x y' in its name.", id="name"),
        pytest.param(ModelList(MODELS).only(source="jan"), "No model is of the source jan.", id="source"),
        pytest.param(ModelList(MODELS).only(kind="adapter"), "No model is of the kind adapter.", id="kind"),
        pytest.param(ModelList(MODELS[:1]).only(fits=False), "No model is too big.", id="too big"),
        pytest.param(ModelList(MODELS[1:2]).only(fits=True), "No model fits.", id="fits"),
        pytest.param(
            ModelList(MODELS).only(source="jan", kind="chat", fits=True).with_name("x"),
            "No model is of the source jan and is of the kind chat and fits and has 'x' in its name.",
            id="all filters, whichever left nothing",
        ),
    ],
)
def test_a_filter_that_leaves_nothing_says_so(models: ModelList, note: str) -> None:
    assert models == []
    assert str(models) == models._repr_markdown_() == f"{note} To see all, type: %llm models"


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        pytest.param({"source": "olama"}, "Did you mean ollama? Sources: bundled, ", id="source"),
        pytest.param({"kind": "#"}, f"Kinds: {', '.join(KINDS)}.", id="kind"),
    ],
)
def test_what_there_cannot_be_is_refused(wrong: dict[str, str], hint: str) -> None:
    (name, value), *_ = wrong.items()

    with pytest.raises(BadOption) as caught:
        ModelList().only(**wrong)  # type: ignore[arg-type] # source and kind are texts

    assert caught.value.message == f"There is no {name} {value!r}."
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("fit", "layers", "words"),
    [
        pytest.param(None, 32, "", id="not known"),
        pytest.param(Fit(verdict="gpu", needed_bytes=5_000_000, free_bytes=9), 32, "fits on the GPU: 5.0 MB", id="GPU"),
        pytest.param(
            Fit(verdict="too big", needed_bytes=5_000_000, free_bytes=6_000_000),
            32,
            "too big: needs 5.0 MB and some to load it, 6.0 MB free",
            id="no room for the load itself",
        ),
        pytest.param(
            Fit(verdict="partial", needed_bytes=5_000_000, free_bytes=9, max_gpu_layers=20),
            32,
            "partly on the GPU: 20 of 33 layers, 5.0 MB",
            id="partly",
        ),
        pytest.param(
            Fit(verdict="partial", needed_bytes=5_000_000, free_bytes=9, max_gpu_layers=20),
            None,
            "partly on the GPU: 20 layers, 5.0 MB",
            id="of how many is not known",
        ),
        pytest.param(Fit(verdict="cpu", needed_bytes=5_000_000, free_bytes=9), 32, "CPU: 5.0 MB", id="CPU"),
        pytest.param(
            Fit(verdict="too big", needed_bytes=12_300_000_000, free_bytes=8_100_000_000),
            32,
            "too big: needs 12.3 GB, 8.1 GB free",
            id="too big",
        ),
    ],
)
def test_a_fit_is_told_with_its_numbers(fit: Fit | None, layers: int | None, words: str) -> None:
    assert to_fit(ModelInfo(reference="x", name="x", source="folder", layers=layers, fit=fit)) == words


@pytest.mark.parametrize(
    ("forecast", "words"),
    [
        pytest.param(None, "", id="not known"),
        pytest.param(
            Forecast(tokens_per_second=14.26, prompt_tokens_per_second=111.0),
            "≈ 14 tok/s, 1,000 tokens read in ≈ 9.0 s",
            id="usual",
        ),
        pytest.param(
            Forecast(tokens_per_second=1509.0, prompt_tokens_per_second=20_000.0),
            "≈ 1,500 tok/s, 1,000 tokens read in ≈ 0.05 s",
            id="fast",
        ),
        pytest.param(
            Forecast(tokens_per_second=0.42, prompt_tokens_per_second=1.5),
            "≈ 0.42 tok/s, 1,000 tokens read in ≈ 670 s",
            id="slow",
        ),
    ],
)
def test_a_forecast_is_told_in_words(forecast: Forecast | None, words: str) -> None:
    assert to_forecast(forecast) == words


def test_a_list_becomes_a_data_frame_with_flat_columns() -> None:
    frame = ModelList(MODELS).to_pandas()

    assert list(frame["reference"])[:1] == ["small.gguf"]
    assert list(frame["fit_verdict"])[:2] == ["cpu", "too big"]
    assert list(frame["fit_needed_bytes"])[:1] == [12_300_000_000]
    assert {"forecast_tokens_per_second", "forecast_prompt_tokens_per_second"} < set(frame.columns)
    assert {"fit", "forecast", "shape", "files"}.isdisjoint(frame.columns)


def test_a_data_frame_without_pandas_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)

    with pytest.raises(SetupError) as caught:
        ModelList().to_pandas()
    assert caught.value.hint == "pip install pandas"
