import re

import pytest

from localllm_magics.core import errors
from localllm_magics.core.errors import BadOption, LocalLLMError


def drawn_tree() -> dict[str, str]:
    """Name of each class in the module's docstring, with that of its parent."""
    parents: list[str] = []
    tree = {}
    for line in (errors.__doc__ or "").splitlines()[1:]:
        match = re.match(r"([│├└─ ]*)(\w+)", line)
        if match:
            depth = len(match[1]) // 4
            parents[depth:] = [match[2]]
            tree[match[2]] = parents[depth - 1] if depth else "Exception"
    return tree


def classes() -> dict[str, type[LocalLLMError]]:
    return {
        name: thing
        for name, thing in vars(errors).items()
        if isinstance(thing, type) and issubclass(thing, LocalLLMError)
    }


def test_the_drawn_tree_is_the_tree() -> None:
    assert drawn_tree() == {name: cls.__bases__[0].__name__ for name, cls in classes().items()}


def test_each_class_says_what_it_means() -> None:
    assert [name for name, cls in classes().items() if not cls.__doc__] == []


def test_no_class_has_more_than_one_parent() -> None:
    assert {len(cls.__bases__) for cls in classes().values()} == {1}


KINDS = {
    "LocalLLMError": "local_llm_error",
    "BadOption": "bad_option",
    "ModelNotFound": "model_not_found",
    "NotAGGUF": "not_a_gguf",
    "ModelNotInDaemon": "model_not_in_daemon",
}


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_a_kind_is_the_name_in_snake_case(name: str, kind: str) -> None:
    assert classes()[name]("What happened.").kind == kind


def test_no_two_kinds_are_alike() -> None:
    kinds = {cls("What happened.").kind for cls in classes().values()}

    assert len(kinds) == len(classes())
    assert [kind for kind in kinds if not re.fullmatch(r"[a-z]+(_[a-z]+)*", kind)] == []


@pytest.mark.parametrize(
    ("error", "text"),
    [
        pytest.param(BadOption("No."), "No.", id="message"),
        pytest.param(BadOption("No.", "Type: yes"), "No.\nType: yes", id="message and hint"),
    ],
)
def test_its_text_is_message_and_hint(error: BadOption, text: str) -> None:
    assert str(error) == text
    assert error._render_traceback_() == [f"BadOption: {text}"]
    assert error.args == ("No.",)
