"""The public names are those of `__all__`."""

import pytest

import localllm_magics


def test_names_are_sorted() -> None:
    assert localllm_magics.__all__ == sorted(localllm_magics.__all__)


@pytest.mark.parametrize("name", localllm_magics.__all__)
def test_every_name_can_be_imported(name: str) -> None:
    assert getattr(localllm_magics, name) is not None


def test_every_error_is_public() -> None:
    from localllm_magics.core import errors

    tree = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}

    assert tree <= set(localllm_magics.__all__)


@pytest.mark.parametrize("name", ["Done", "Failed", "Loading", "Pending", "Reading", "ReasoningDelta", "TextDelta"])
def test_every_event_is_public(name: str) -> None:
    assert name in localllm_magics.__all__
