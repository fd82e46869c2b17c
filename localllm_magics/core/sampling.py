"""How tokens are chosen: one row for each option, from which parsing, help, checks and requests follow.

A new option is a row in `SAMPLING_OPTIONS` with its field in `Sampling` and `SamplingOptions`, its link in the kernel
engine's sampler chain, and its property in completion.schema.json.
"""

import difflib
import numbers
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TypedDict

from localllm_magics.core.errors import BadOption

MAX_SEED = 2**32 - 2
"""llama.cpp reads a seed as 32 bits; the largest value asks it to choose one."""
_LARGEST_FLOAT = 3.4e38  # llama.cpp's floats have 32 bits
_INFINITY = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingOption:
    """One sampling option; its name is the field of `Sampling`, the key in the document, and the name in requests.

    Args:
        type: What its value is; a text can be given several times.
        allowed: Its values in words, from `low` to `high` where they are numbers.
        short: A flag beside the long one, which is its name.
        metavar: The name of its value in the help.
        example: A value that works, as it is typed.
        default: llama.cpp's own (common/common.h, common_params_sampling); None where that is no fixed value.
        gguf_key: What follows `general.sampling.` in a GGUF header, empty where that has none.
        ollama: The name among Ollama's options, where it is another one.
    """

    name: str
    type: type[int] | type[float] | type[str]
    allowed: str
    low: float = 0
    high: float = _INFINITY
    short: str = ""
    metavar: str
    help: str
    example: str
    default: float | None = None
    gguf_key: str = ""
    ollama: str = ""

    @property
    def flags(self) -> tuple[str, ...]:
        """How it is typed, the long flag last."""
        return tuple(filter(None, (self.short, to_flag(self.name))))

    def to_number(self, value: object) -> int | float:
        """VALUE as a number of this option.

        Raises:
            BadOption: It is none, or out of range.
        """
        number = to_number(value, int if self.type is int else float)
        if number is None or not self.low <= number <= self.high:
            raise bad_value(self.name, self.allowed, self.example, value)
        return number


_Option = SamplingOption
# fmt: off
SAMPLING_OPTIONS = (
    _Option(name="max_tokens", type=int, allowed="a whole number, 1 or more", low=1, short="-n", metavar="N",
            help="at most this many tokens", example="64", ollama="num_predict"),
    _Option(name="temperature", type=float, allowed="0 or more", high=_LARGEST_FLOAT, short="-t", metavar="X",
            help="randomness; 0 for none", example="0.8", default=0.8, gguf_key="temp"),
    _Option(name="top_k", type=int, allowed="a whole number, 0 or more", high=2**31 - 1, metavar="N",
            help="sample from the N likeliest tokens; 0 for all", example="40", default=40, gguf_key="top_k"),
    _Option(name="top_p", type=float, allowed="from 0 to 1", high=1, metavar="X", gguf_key="top_p",
            help="sample from this share of the probability, 0 to 1", example="0.95", default=0.95),
    _Option(name="min_p", type=float, allowed="from 0 to 1", high=1, metavar="X", gguf_key="min_p",
            help="least probability, relative to the best token's", example="0.05", default=0.05),
    _Option(name="repeat_penalty", type=float, allowed="more than 0", low=1e-6, high=_LARGEST_FLOAT, metavar="X",
            help="above 1 to repeat less", example="1.1", default=1.0, gguf_key="penalty_repeat"),
    _Option(name="seed", type=int, allowed=f"a whole number from 0 to {MAX_SEED}", high=MAX_SEED, metavar="N",
            help="the same seed gives the same answer", example="1"),
    _Option(name="stop", type=str, allowed="a text that is not empty", metavar="TEXT", example='"END"',
            help=r'end before this text; "\n" is a line break; repeatable'),
)
# fmt: on


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are chosen; None leaves a value to the model's own default.

    Args:
        temperature: 0 or more; 0 always takes the most likely token.
        top_k: 0 or more tokens are kept; 0 keeps all.
        top_p: From 0 to 1, the share of probability that is kept.
        min_p: From 0 to 1, the least probability relative to the best token's.
        repeat_penalty: More than 0; 1 is no penalty.
        seed: From 0 to 2**32 - 2.
        max_tokens: 1 or more; without it an answer ends when the model ends it.
        stop: Texts that end the answer; they are not part of it.

    Raises:
        BadOption: A value is out of its range.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for option in SAMPLING_OPTIONS:
            value = getattr(self, option.name)
            if option.type is str:
                if not all(isinstance(text, str) and text for text in value):
                    raise bad_value(option.name, option.allowed, option.example)
            elif value is not None:
                object.__setattr__(self, option.name, option.to_number(value))

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> "Sampling":
        """OPTIONS by name as a value; `stop` may be one text.

        Raises:
            BadOption: A name is unknown, or a value out of range.
        """
        names = [f.name for f in fields(cls)]
        for name in options:
            if name not in names:
                nearest = difflib.get_close_matches(name, names, 1)
                hint = f"Did you mean {nearest[0]}?" if nearest else f"Known options: {', '.join(names)}."
                raise BadOption(f"There is no option {name!r}.", hint)
        stop = options.get("stop") or ()
        if not isinstance(stop, str | Iterable):
            raise BadOption(f"--stop must be a text or a list of texts, not {stop!r}.", 'Try --stop "END".')
        texts = (stop,) if isinstance(stop, str) else tuple(stop)
        return cls(**{**options, "stop": texts})  # type: ignore[arg-type] # names were checked, values check themselves

    def items(self) -> Iterator[tuple[SamplingOption, object]]:
        """The options that are set, with their values as JSON has them."""
        for option in SAMPLING_OPTIONS:
            value = getattr(self, option.name)
            if value not in (None, ()):
                yield option, list(value) if option.type is str else value

    def or_else(self, defaults: "Sampling") -> "Sampling":
        """These values, with those that are None, and stop texts where there are none, taken from DEFAULTS."""
        return replace(defaults, **{name: value for name, value in asdict(self).items() if value not in (None, ())})

    def seeded(self) -> "Sampling":
        """These values with a seed, a random one where none was given."""
        return self if self.seed is not None else replace(self, seed=random.SystemRandom().randint(0, MAX_SEED))


class SamplingOptions(TypedDict, total=False):
    """What `Model.complete` and `Model.stream` take; see `Sampling` for meanings and ranges."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repeat_penalty: float
    seed: int
    max_tokens: int
    stop: str | Sequence[str]


def to_number(value: object, kind: type[int] | type[float]) -> int | float | None:
    """VALUE as a number of KIND, NumPy's too; whole numbers are floats too, booleans are none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if kind is float and isinstance(value, numbers.Real) else None


def to_flag(name: str) -> str:
    """How the option NAME is typed."""
    return "--" + name.replace("_", "-")


def bad_value(name: str, allowed: str, example: str, *value: object) -> BadOption:
    """The error of the option NAME with a wrong VALUE, if that can be shown."""
    flag, shown = to_flag(name), "".join(f", not {one!r}" for one in value)
    return BadOption(f"{flag} must be {allowed}{shown}.", f"Try {flag} {example}.")


LLAMA_CPP_SAMPLING = Sampling.from_options(
    {option.name: option.default for option in SAMPLING_OPTIONS if option.default is not None}
)
"""llama.cpp's own defaults."""
