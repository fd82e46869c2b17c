from localllm_magics.catalog.model_list import ModelList
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.widgets.static_table import MOST_ROWS, to_bundle


def models(count: int) -> ModelList:
    return ModelList(
        ModelInfo(reference=f"m{n}", name="", quantization=f"<b>{n}</b>", source="folder") for n in range(count)
    )


def test_all_of_a_few_models_are_shown_as_text() -> None:
    bundle = to_bundle(models(2))

    assert bundle["text/html"].count("<tr>") == 3
    assert ">&lt;b&gt;1&lt;/b&gt;</td>" in bundle["text/html"]
    assert "more models" not in bundle["text/plain"]


def test_of_many_models_the_first_are_shown_and_the_others_counted() -> None:
    bundle = to_bundle(models(MOST_ROWS + 1_980))

    assert bundle["text/html"].count("<tr>") == MOST_ROWS + 1
    assert "1,980 more models: %llm models" in bundle["text/plain"]
    assert "1,980 more models" in bundle["text/html"]


def test_a_model_that_cannot_be_read_is_said_to_be() -> None:
    broken = ModelInfo(reference="broken", name="", source="folder", problem="The file is empty.")

    bundle = to_bundle(ModelList([broken]))

    assert ">unreadable</td>" in bundle["text/html"]
    assert "| unreadable |" in bundle["text/markdown"]


def test_without_a_style_block_cells_are_on_the_left_and_numbers_beside_their_units() -> None:
    html = to_bundle(ModelList([ModelInfo(reference="m", name="", source="folder", size_bytes=3_200_000)]))["text/html"]
    cells = html.partition("</style>")[2]

    assert cells.count("<td") == cells.count('<td align="left" style="text-align: left; white-space: nowrap">')
    assert "3.2\u00a0MB" in cells
