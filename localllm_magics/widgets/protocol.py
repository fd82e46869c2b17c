"""What the page and the kernel say to each other; `protocol.js` has the same shapes.

The page sends commands, each with an id. The kernel answers each one with `accepted`, and then with exactly one answer
that ends it. What is so now, progress included, lies in traits: the models and the status.
"""

from collections.abc import Mapping
from types import UnionType
from typing import Literal, TypeAlias, TypedDict, TypeGuard, Union, get_args, get_origin, get_type_hints, is_typeddict


class Options(TypedDict):
    """How a model is to be put into memory; null leaves a value to the kernel."""

    context: int | None
    gpu_layers: int | None
    cpu_moe: int | None
    kv_type: str | None


class Load(TypedDict):
    """Load a model, with `force` although it does not fit."""

    kind: Literal["load"]
    id: str
    reference: str
    options: Options
    force: bool


class Cancel(TypedDict):
    """End the command with the id `target`."""

    kind: Literal["cancel"]
    id: str
    target: str


class Unload(TypedDict):
    """Give the memory of a model back."""

    kind: Literal["unload"]
    id: str
    reference: str


class Rescan(TypedDict):
    """Look for models again."""

    kind: Literal["rescan"]
    id: str


class Plan(TypedDict):
    """Plan the memory of a model for each of `options`; `exact` asks the engine and not the header."""

    kind: Literal["plan"]
    id: str
    reference: str
    options: list[Options]
    exact: bool


Command: TypeAlias = Load | Cancel | Unload | Rescan | Plan


class Settings(TypedDict):
    """What a plan is made for: the options, with those that were left to the kernel."""

    context: int
    gpu_layers: int
    cpu_moe: int
    kv_type: str


class Use(TypedDict):
    """What a model takes of a device, and what is free there."""

    device: str
    weights: int
    kv_cache: int
    compute: int
    free: int
    total: int


class Planned(TypedDict):
    """A plan; rates are null where this machine was not measured."""

    settings: Settings
    uses: list[Use]
    exact: bool
    speed: float | None
    prompt_speed: float | None


class Accepted(TypedDict):
    """The command has arrived."""

    kind: Literal["accepted"]
    id: str


class Done(TypedDict):
    """The command ended well; `notices` are what a user should know, `plans` those that were asked for."""

    kind: Literal["done"]
    id: str
    notices: list[str]
    plans: list[Planned]


class Cancelled(TypedDict):
    """The command ended because it was cancelled."""

    kind: Literal["cancelled"]
    id: str


class Failed(TypedDict):
    """The command ended with an error; `can_force` where a load was refused that may be forced."""

    kind: Literal["failed"]
    id: str
    message: str
    hint: str
    can_force: bool


Answer: TypeAlias = Accepted | Done | Cancelled | Failed


class Fitting(TypedDict):
    """How a model fits into what was free when it was listed."""

    verdict: Literal["gpu", "partial", "cpu", "too big"]
    needed: int
    free: int
    max_gpu_layers: int
    context: int


class Row(TypedDict):
    """A model of the list; null is not known."""

    reference: str
    name: str
    source: str
    kind: str | None
    problem: str | None
    path: str | None
    size: int | None
    parameters: int | None
    architecture: str | None
    quantization: str | None
    context: int | None
    layers: int | None
    experts: int
    template: bool | None
    local: bool
    fit: Fitting | None
    speed: float | None
    prompt_speed: float | None


class Loaded(TypedDict):
    """A model in memory, or on a server, with the options that it was loaded with."""

    reference: str
    memory: int
    device: str | None
    context: int | None
    gpu_layers: int | None
    options: Options


class Loading(TypedDict):
    """The load that runs, by the id of its command."""

    id: str
    reference: str
    fraction: float


class Status(TypedDict):
    """What is so now.

    `activity` is what else goes on, and `note` what is amiss, in words or nothing; `devices` are those that layers can
    be offloaded to.
    """

    current: str | None
    loaded: list[Loaded]
    loading: Loading | None
    activity: str
    note: str
    devices: list[str]


def to_command(message: object) -> Command:
    """MESSAGE, which comes from a page, as a command.

    Raises:
        ValueError: It is none.
    """
    if is_command(message):
        return message
    raise ValueError(f"The page sent no command that is known: {str(message)[:200]}")


def is_command(message: object) -> TypeGuard[Command]:
    """Whether MESSAGE has the shape of a command."""
    return has_shape(message, Command)


def has_shape(value: object, shape: object) -> bool:
    """Whether VALUE is of the type SHAPE, to the last key; a whole number is also a float."""
    if is_typeddict(shape):
        return _has_fields(value, get_type_hints(shape))
    kinds, origin = get_args(shape), get_origin(shape)
    if origin is Literal:
        return isinstance(value, str) and value in kinds
    if origin in (Union, UnionType):
        return any(has_shape(value, kind) for kind in kinds)
    if origin is list:
        return isinstance(value, list) and all(has_shape(item, kinds[0]) for item in value)
    return type(value) in ((int, float) if shape is float else (shape,))


def _has_fields(value: object, hints: Mapping[str, object]) -> bool:
    if not isinstance(value, dict) or value.keys() != hints.keys():
        return False
    return all(has_shape(item, hints[name]) for name, item in value.items())
