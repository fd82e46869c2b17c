import pytest

from localllm_magics.widgets.advice import to_advice


@pytest.mark.parametrize(
    ("hint", "advice"),
    [
        pytest.param(
            "These fit: --ctx 2048, --ctx 512 --kv-type q8_0. To load it anyway: --force (in Python force=True).",
            "These fit: 2048 tokens of context, 512 tokens of context and a KV cache of q8_0. Or press Load anyway.",
            id="what fits",
        ),
        pytest.param(
            "These fit: --gpu-layers 12 --cpu-moe. Smaller models: %llm models, or %llm load demo.",
            "These fit: 12 layers on the GPU and all experts on the CPU. Smaller models are in the list: sort it by "
            "size.",
            id="on the GPU",
        ),
        pytest.param("Choose a smaller model: %llm models", "Choose a smaller model from the list.", id="the list"),
        pytest.param(
            "Use a model of a server: %llm models. --force cannot help.",
            "Use a model of a server, from the list. Load anyway cannot help.",
            id="force",
        ),
        pytest.param(
            "A smaller --ctx needs less, and --force (in Python force=True) loads it anyway.",
            "A smaller context needs less, and Load anyway loads it.",
            id="a limit",
        ),
        pytest.param("Loaded: demo. Type: %llm status", "Loaded: demo.", id="what is loaded"),
        pytest.param("Try fewer --gpu-layers.", "Try fewer layers on the GPU.", id="fewer layers"),
        pytest.param("Type: ollama serve", "Type: ollama serve", id="what can only be typed"),
    ],
)
def test_a_hint_names_the_controls_of_the_picker(hint: str, advice: str) -> None:
    assert to_advice(hint) == advice
