"""The variables by which chat templates are told whether to reason: there is no common one."""

from collections.abc import Mapping, Sequence

# Without and with reasoning.
_SWITCHES: Mapping[str, tuple[object, object]] = {
    "enable_thinking": (False, True),  # Qwen 3, GLM, Gemma 4 and most others
    "thinking": (False, True),  # Granite 3.3, DeepSeek V3.1, Kimi K3
    "reasoning": (False, True),  # Command A
    "thinking_mode": ("disabled", "enabled"),  # MiniMax M3
    "thinking_option": ("off", "on"),  # Ling
}
_NO_EFFORT, _EFFORT = ("none", "no_think", "minimal"), ("medium", "high")


def think_options(template: str = "", *, is_wanted: bool) -> dict[str, object]:
    """What makes a chat template reason, or not.

    Args:
        template: Its source, if known: which efforts there are differs, and some raise an error about others.
        is_wanted: Whether it shall reason.
    """
    options = {name: values[is_wanted] for name, values in _SWITCHES.items()}
    if not is_wanted:
        options["thinking_budget"] = 0  # Seed-OSS; without one it is not limited
    effort = _first_quoted(_EFFORT if is_wanted else _NO_EFFORT, template) or (None if is_wanted else "low")
    if effort is not None:
        options |= dict.fromkeys(("reasoning_effort", "reasoning_strength"), effort)  # gpt-oss, Solar, Hunyuan
    return options


def _first_quoted(words: Sequence[str], template: str) -> str | None:
    return next((word for word in words if f"'{word}'" in template or f'"{word}"' in template), None)
