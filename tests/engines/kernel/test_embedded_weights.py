import os
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localllm_magics import demo
from localllm_magics.core.errors import (
    LoadFailed,
    LocalLLMError,
    ModelError,
    ModelNotFound,
    NotAGGUF,
    TruncatedFile,
)
from localllm_magics.engines.kernel.embedded_weights import (
    EmbeddedWeights,
    find_weights,
)
from tests.engines.kernel.llamafiles import GGUF, HEAD, NOWHERE, args, bytes_at, model, write
from tests.server.llamafile_stand_in import Member, archive, end, make_llamafile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.llamafile"


def test_the_weights_are_found_where_they_lie(path: Path) -> None:
    make_llamafile(path, demo.PATH, "-m\n/zip/model.gguf\n", NOWHERE)

    weights = find_weights(path)

    data = demo.PATH.read_bytes()
    assert weights == EmbeddedWeights(name="model.gguf", offset=weights.offset, size=len(data), crc=zlib.crc32(data))
    assert weights.offset % 65536 == 0
    assert bytes_at(path, weights) == data


def test_the_offset_of_the_data_is_that_of_its_own_header(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as plain, plain.open(zipfile.ZipInfo("a.gguf"), "w", force_zip64=True) as file:
        file.write(GGUF)

    assert bytes_at(path, find_weights(path)) == GGUF


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        pytest.param("-m small.gguf", "small.gguf", id="bare"),
        pytest.param("-m\n/zip/small.gguf\n--temp\n0", "small.gguf", id="below zip, a word in a line"),
        pytest.param("--model '/zip/sub dir/a.gguf' ...", "sub dir/a.gguf", id="quoted"),
        pytest.param("# -m small.gguf\n-c 0", "large.gguf", id="comment"),
        pytest.param("-m small.gguf -m large.gguf", "large.gguf", id="the last"),
        pytest.param("-m elsewhere.gguf", "large.gguf", id="not inside"),
        pytest.param("-m mmproj-x.gguf", "mmproj-x.gguf", id="named, so wanted"),
        pytest.param("-m small.gguf 'open", "small.gguf", id="a quotation without end"),
        pytest.param("-m", "large.gguf", id="nothing after it"),
        pytest.param("\xff\0", "large.gguf", id="no words"),
    ],
)
def test_the_weights_that_args_name_are_taken(path: Path, text: str, chosen: str) -> None:
    models = [
        model("small.gguf"),
        model("large.gguf", GGUF * 2),
        model("sub dir/a.gguf"),
        model("mmproj-x.gguf", GGUF * 9),
    ]
    write(path, *models, args(text))

    assert find_weights(path).name == chosen


def test_the_largest_is_taken_without_args(path: Path) -> None:
    write(path, model("mmproj.gguf", GGUF * 9), model("b.GGUF", GGUF * 2), model("a.gguf"), model("x.so", GGUF * 10))

    assert find_weights(path).name == "b.GGUF"


def test_args_may_be_compressed_and_only_their_start_is_read(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as plain:
        plain.writestr("a.gguf", GGUF)
        plain.writestr("b.gguf", GGUF * 2)
        plain.writestr(".args", "-m a.gguf" + " " * (1 << 25), zipfile.ZIP_DEFLATED)
    tracemalloc.start()

    name = find_weights(path).name

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert name == "a.gguf"
    assert peak < 1 << 22


def test_args_that_only_another_program_can_unpack_are_not_read(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as plain:
        plain.writestr("a.gguf", GGUF)
        plain.writestr("b.gguf", GGUF * 2)
        plain.writestr(".args", "-m a.gguf", zipfile.ZIP_LZMA)

    assert find_weights(path).name == "b.gguf"


@pytest.mark.parametrize(
    ("members", "error", "message"),
    [
        pytest.param([], NotAGGUF, "x.llamafile contains no weights: it is the llamafile", id="no member"),
        pytest.param([args("-m a.gguf"), model("a.txt")], NotAGGUF, "contains no weights", id="no weights"),
        pytest.param([model("mmproj-a.gguf")], NotAGGUF, "contains no weights", id="a projector only"),
        pytest.param([model(data=b"MZqF" * 9)], NotAGGUF, "'model.gguf' in x.llamafile is not a GGUF", id="magic"),
        pytest.param([model(data=b"")], NotAGGUF, "is not a GGUF file", id="empty"),
        pytest.param([model(method=8)], LoadFailed, "'model.gguf' in x.llamafile is compressed", id="compressed"),
        pytest.param([model(claimed_size=1 << 40)], TruncatedFile, "is cut off: 1.1 TB are missing", id="too large"),
        pytest.param([model(claimed_size=2**64 - 1)], TruncatedFile, "is cut off", id="as large as can be"),
        pytest.param([model(claimed_header=7)], NotAGGUF, "'model.gguf' is not at its offset", id="elsewhere"),
        pytest.param([model(claimed_header=1 << 40)], NotAGGUF, "is not at its offset", id="behind the end"),
        pytest.param([model(claimed_header=2**64 - 1)], ModelError, "x.llamafile", id="behind every end"),
        pytest.param([model("a-00001-of-00002.gguf")], LoadFailed, "one of several parts", id="split"),
        pytest.param([model("\x1b[31m.gguf", b"no!!")], NotAGGUF, r"'\x1b[31m.gguf' in", id="terminal escape"),
    ],
)
def test_weights_that_cannot_be_used_are_refused(
    path: Path, members: list[Member], error: type[ModelError], message: str
) -> None:
    write(path, *members)

    with pytest.raises(error) as caught:
        find_weights(path)
    assert message in caught.value.message
    assert "\x1b" not in str(caught.value)
    assert caught.value.hint


def test_a_model_in_one_part_is_no_split_model(path: Path) -> None:
    write(path, model("a-00001-of-00001.gguf"))

    assert find_weights(path).name == "a-00001-of-00001.gguf"


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        pytest.param(b"", NotAGGUF, "x.llamafile is not a llamafile: it is not a zip archive.", id="empty"),
        pytest.param(b"hello " * 99, NotAGGUF, "it is not a zip archive", id="text"),
        pytest.param(GGUF, NotAGGUF, "x.llamafile is a GGUF file, not a llamafile.", id="GGUF"),
        pytest.param(HEAD, TruncatedFile, "is cut off or damaged", id="cut"),
        pytest.param(b"jartsr='" + bytes(99), TruncatedFile, "is cut off or damaged", id="cut, other head"),
        pytest.param(end(1, 1 << 50, 0), NotAGGUF, "it is not a zip archive", id="endless directory"),
        pytest.param(end(1, 2**64 - 1, 2**64 - 1), NotAGGUF, "it is not a zip archive", id="directory everywhere"),
        pytest.param(end(2**63, 0, 0), NotAGGUF, "contains no weights", id="countless members"),
    ],
)
def test_a_file_of_another_kind_is_refused(path: Path, content: bytes, error: type[ModelError], message: str) -> None:
    path.write_bytes(content)

    with pytest.raises(error) as caught:
        find_weights(path)
    assert message in caught.value.message


def test_a_directory_as_large_as_the_file_is_not_read(path: Path) -> None:
    size = 1 << 30
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(end(1, size, 0))
    tracemalloc.start()

    with pytest.raises(NotAGGUF):
        find_weights(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_members_that_lie_on_each_other_do_no_harm(path: Path) -> None:
    place = 65536 - 30 - 20 - len("0.gguf")
    claims = [model(f"{number}.gguf", b"", claimed_header=place, claimed_size=64) for number in range(1, 10)]
    write(path, model("0.gguf"), *claims * 100)

    assert bytes_at(path, find_weights(path)) == GGUF


@pytest.mark.parametrize("name", ["missing", "a\0b"])
def test_a_path_to_nothing_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(LocalLLMError):
        find_weights(tmp_path / name)


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(ModelNotFound) as caught:
        find_weights(path)
    assert caught.value.message == f"There is no file {path}."


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotAGGUF):
        find_weights(tmp_path)


def test_a_pipe_is_not_waited_for(path: Path) -> None:
    os.mkfifo(path)

    with pytest.raises(NotAGGUF):
        find_weights(path)


def test_a_file_that_cannot_be_read_is_named(path: Path) -> None:
    path.symlink_to(path)

    with pytest.raises(ModelError) as caught:
        find_weights(path)
    assert caught.value.message.startswith(f"{path} cannot be read: ")


WHOLE = HEAD + archive([model(), model("b.gguf"), args("-m model.gguf")], start=len(HEAD))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(WHOLE) - 1) | st.integers(len(WHOLE) - 400, len(WHOLE) - 1), value=st.binary(max_size=9))
def test_a_damaged_file_is_read_or_refused(path: Path, at: int, value: bytes) -> None:
    path.write_bytes(WHOLE[:at] + value + WHOLE[at + len(value) :])

    try:
        weights = find_weights(path)
    except LocalLLMError:
        return
    assert bytes_at(path, weights).startswith(b"GGUF")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(0, len(WHOLE) - 1))
def test_a_cut_file_is_refused(path: Path, length: int) -> None:
    path.write_bytes(WHOLE[:length])

    with pytest.raises(LocalLLMError):
        find_weights(path)
