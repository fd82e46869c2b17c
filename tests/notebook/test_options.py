"""The options are declared once, and well."""

from localllm_magics.notebook.options import ASKING


def test_no_flag_is_declared_twice() -> None:
    flags = [flag for option in ASKING for flag in option.flags]

    assert sorted(set(flags)) == sorted(flags)


def test_an_option_excludes_one_that_exists() -> None:
    flags = {flag for option in ASKING for flag in option.flags}

    assert {flag for option in ASKING for flag in option.excludes} <= flags
