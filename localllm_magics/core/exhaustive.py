"""`typing.assert_never`, which Python 3.10 lacks."""

from typing import NoReturn


def assert_never(value: NoReturn) -> NoReturn:
    """End a `match` that has a case for every member of a union; the type checker finds a member without one."""
    raise AssertionError(f"{value!r} was not expected here")
