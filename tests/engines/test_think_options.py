import pytest

from localllm_magics.engines.think_options import think_options


@pytest.mark.parametrize("is_wanted", [True, False])
def test_the_names_of_all_templates_are_given(*, is_wanted: bool) -> None:
    options = think_options(is_wanted=is_wanted)

    assert [options[name] for name in ("enable_thinking", "thinking", "reasoning")] == [is_wanted] * 3
    assert ("thinking_budget" in options) is not is_wanted


@pytest.mark.parametrize(
    ("template", "wanted", "unwanted"),
    [
        pytest.param("", None, "low", id="not known"),
        pytest.param('"medium"', "medium", "low", id="gpt-oss"),
        pytest.param("['high', 'low', 'no_think']", "high", "no_think", id="Hunyuan"),
        pytest.param('["low", "minimal"]', None, "minimal", id="Solar"),
        pytest.param('== "none"', None, "none", id="none"),
    ],
)
def test_the_effort_is_one_that_the_template_knows(template: str, wanted: str | None, unwanted: str) -> None:
    assert think_options(template, is_wanted=True).get("reasoning_effort") == wanted
    assert think_options(template, is_wanted=False)["reasoning_effort"] == unwanted
