"""Loads in processes whose memory is limited, by the system itself: each answers or is refused, and none is killed."""

import sys
from pathlib import Path

import pytest

from tests.engines.kernel.random_model import write_random_model
from tools.bench.memory_limits import Kind, Load, can_make_groups, outcome

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are no such limits")
group = pytest.mark.skipif(not can_make_groups(), reason="this process cannot make control groups")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where probes are stored, so that each file and the build are probed once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of some 90 MB."""
    return write_random_model(tmp_path_factory.mktemp("models") / "large.gguf", layers=24)


@pytest.mark.parametrize(
    ("kind", "megabytes", "context", "word"),
    [
        pytest.param("group", 64, None, "NotEnoughMemory", marks=group, id="a group too small for llama.cpp"),
        pytest.param("group", 200, None, "answered", marks=group, id="a group"),
        pytest.param("group", 200, 1_000_000, "NotEnoughMemory", marks=group, id="a group and a large context"),
        pytest.param("parent", 64, None, "NotEnoughMemory", marks=group, id="a group in a small group"),
        pytest.param("parent", 200, None, "answered", marks=group, id="a group in a group"),
        pytest.param("RLIMIT_AS", 300, None, "NotEnoughMemory", id="little address space"),
        pytest.param("RLIMIT_AS", 4000, 1_000_000, "NotEnoughMemory", id="a large context in address space"),
        pytest.param("RLIMIT_DATA", 64, None, "NotEnoughMemory", id="little data"),
        pytest.param("RLIMIT_DATA", 4000, 2048, "answered", id="enough data"),
    ],
)
def test_the_bundled_model_answers_or_is_refused(
    cache: Path, kind: Kind, megabytes: int, context: int | None, word: str
) -> None:
    end = outcome(Load(model="demo", kind=kind, megabytes=megabytes, context=context), cache)

    assert (end.word, end.status, end.said) == (word, 0, "")


@group
@pytest.mark.parametrize(
    ("megabytes", "force", "word"),
    [
        pytest.param(180, False, "NotEnoughMemory", id="refused"),
        pytest.param(180, True, "answered", id="forced"),
        pytest.param(90, True, "NotEnoughMemory", id="refused though forced"),
        pytest.param(400, False, "answered", id="enough"),
    ],
)
def test_weights_larger_than_a_limit_are_refused_or_mapped(
    cache: Path, large: Path, megabytes: int, force: bool, word: str
) -> None:
    load = Load(model=str(large), kind="group", megabytes=megabytes, context=512, force=force)

    end = outcome(load, cache)

    assert (end.word, end.status) == (word, 0)
    assert ("--force" in str(end.found.get("message"))) == (word == "NotEnoughMemory")
