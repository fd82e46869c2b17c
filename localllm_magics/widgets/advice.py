"""The hints of errors as advice for the picker, which has buttons and sliders where a cell has options."""

import re

_WORDS = (
    (r" \(in Python force=True\)", ""),
    (r"To load it anyway: --force\.", "Or press Load anyway."),
    (r"--force loads it anyway", "Load anyway loads it"),
    (r"--force alone cannot help", "Load anyway alone cannot help"),
    (r"Smaller models: %llm models, or %llm load demo\.", "Smaller models are in the list: sort it by size."),
    (r" ?Type: %llm status$", ""),
    (r":? ?(Type: )?%llm models\.?$", " from the list."),
    (r": %llm models\b", ", from the list"),
    (r"(?<=\d) (?=--)", " and "),  # two options for one load
    (r"--ctx (\d+)", r"\1 tokens of context"),
    (r"smaller --ctx", "smaller context"),
    (r"--gpu-layers (\d+)", r"\1 layers on the GPU"),
    (r"fewer --gpu-layers", "fewer layers on the GPU"),
    (r"--cpu-moe", "all experts on the CPU"),
    (r"--kv-type (\w+)", r"a KV cache of \1"),
    (r"--force\b", "Load anyway"),
)


def to_advice(hint: str) -> str:
    """HINT in the words of the picker's controls; what can only be typed stays."""
    for pattern, words in _WORDS:
        hint = re.sub(pattern, words, hint)
    return hint
