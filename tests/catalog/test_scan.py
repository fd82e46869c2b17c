import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm_magics.catalog.scan import ModelSource, Scan
from localllm_magics.catalog.sources.search import Search
from localllm_magics.core.model_info import ModelInfo
from tests.catalog.sources.searching import new_search
from tests.server.waiting import wait_until

ONE, TWO = (ModelInfo(reference=name, name=name, source="jan") for name in ("one", "two"))


def scan(find: object, folder: Path, most: int = 100) -> Scan:
    source = ModelSource(name="jan", title="Jan's folder", find=find)  # type: ignore[arg-type] # a test's own
    return Scan(source, new_search(folder, "jan", most=most))


def two(_search: Search) -> Iterator[ModelInfo]:
    yield from (ONE, TWO)


def test_a_search_ends_with_all_that_there_is(tmp_path: Path) -> None:
    found = scan(two, tmp_path)
    found.wait(60, 60)

    assert (found.found, found.notes(), found.hangs) == ([ONE, TWO], [], False)


def test_a_source_that_does_not_answer_is_given_up_with_what_it_has(tmp_path: Path) -> None:
    go_on = threading.Event()

    def hanging(_search: Search) -> Iterator[ModelInfo]:
        yield ONE
        go_on.wait()
        yield TWO

    found = scan(hanging, tmp_path)
    wait_until(lambda: bool(found.found), "the first model")
    found.wait(0, 60)

    assert (found.found, found.hangs) == ([ONE], True)
    assert found.notes()[0].startswith("Jan's folder did not answer within ")
    go_on.set()
    found.wait(60, 60)  # it does not hang any more


def test_a_source_that_never_ends_is_given_up(tmp_path: Path) -> None:
    enough = threading.Event()

    def endless(search: Search) -> Iterator[ModelInfo]:
        while not enough.is_set():
            yield search.unfinished(tmp_path / "x.gguf.part", "x")

    found = scan(endless, tmp_path)
    found.wait(60, 0)

    assert found.hangs
    assert found.notes()[0].startswith("Jan's folder was not searched to the end within ")
    enough.set()


def test_what_the_system_refuses_is_a_note(tmp_path: Path) -> None:
    def refused(_search: Search) -> Iterator[ModelInfo]:
        yield ONE
        raise OSError(5, "Input/output error")

    found = scan(refused, tmp_path)
    found.wait(60, 60)

    assert found.found == [ONE]
    assert found.notes() == ["Jan's folder could not be searched to the end: [Errno 5] Input/output error."]


def test_so_is_a_want_of_memory(tmp_path: Path) -> None:
    def starved(_search: Search) -> Iterator[ModelInfo]:
        yield from ()
        raise MemoryError

    found = scan(starved, tmp_path)
    found.wait(60, 60)

    assert found.notes() == ["Jan's folder could not be searched to the end: there is not enough memory."]


def test_more_than_can_be_looked_at_is_a_note(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.gguf").touch()
    found = scan(lambda search: search.models(tmp_path, str), tmp_path, most=2)
    found.wait(60, 60)

    assert len(found.found) == 2
    assert found.notes() == ["Jan's folder has more than 50,000 files; the others are not listed."]


def test_an_error_of_ours_is_not_swallowed(tmp_path: Path) -> None:
    def wrong(_search: Search) -> Iterator[ModelInfo]:
        yield ONE
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        scan(wrong, tmp_path).wait(60, 60)


def test_where_no_thread_can_be_started_it_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)

    assert scan(two, tmp_path).found == [ONE, TWO]
