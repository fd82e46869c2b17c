"""Which instruction sets a build of llama.cpp uses, and which its CPU has beside them, in words."""

from typing import NamedTuple


class _Feature(NamedTuple):
    """An instruction set: in words, as llama.cpp calls it, and as Linux does."""

    word: str
    name: str
    flag: str


# Each needs those before it.
_X86 = (
    _Feature("AVX2", "AVX2", "avx2"),
    _Feature("AVX-512", "AVX512", "avx512f"),
    _Feature("AMX", "AMX_INT8", "amx_int8"),
)
_ARM = (
    _Feature("NEON", "NEON", "asimd"),
    _Feature("dot products", "DOTPROD", "asimddp"),
    _Feature("SVE", "SVE", "sve"),
)


def cpu_features(system_info: str, cpu: str) -> tuple[str, str]:
    """The best instruction set that was compiled in with those that were not, and what CPU has of the latter."""
    features = _ARM if "NEON = " in system_info else _X86
    used = [feature.word for feature in features if f" {feature.name} = 1" in system_info]
    missing = [feature for feature in features if feature.word not in used]
    flags = cpu.split()
    unused = " and ".join(feature.word for feature in missing if feature.flag in flags)
    return ", ".join([*used[-1:], *(f"no {feature.word}" for feature in missing)]), unused
