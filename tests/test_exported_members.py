"""The public names are those of `__all__`."""

from typing import get_args

import localllm_magics
from localllm_magics.core.events import Event


def test_names_are_sorted() -> None:
    assert localllm_magics.__all__ == sorted(localllm_magics.__all__)


def test_every_name_can_be_imported() -> None:
    assert [name for name in localllm_magics.__all__ if not hasattr(localllm_magics, name)] == []


def test_every_error_is_public() -> None:
    from localllm_magics.core import errors

    tree = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}

    assert tree <= set(localllm_magics.__all__)


def test_every_event_is_public() -> None:
    assert {event.__name__ for event in get_args(Event)} <= set(localllm_magics.__all__)
