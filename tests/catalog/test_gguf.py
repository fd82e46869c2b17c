import contextlib
import os
import struct
import tracemalloc
from pathlib import Path

import gguf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localllm_magics.catalog.gguf import (
    TABLES,
    VOCABULARIES,
    ArrayInfo,
    Header,
    Tensor,
    read_header,
    require_complete,
)
from localllm_magics.core.errors import LocalLLMError, ModelError, ModelNotFound, NotAGGUF, TruncatedFile
from localllm_magics.core.ggml_types import GGML_TYPES
from tests.catalog.gguf_files import DEMO, raw_array, raw_gguf, raw_key, raw_string, raw_tensor, write_gguf

U32, FLOAT, BOOL, STRING, ARRAY, I64 = 4, 6, 7, 8, 9, 11


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.gguf"


def read(path: Path, data: bytes) -> Header:
    path.write_bytes(data)
    header = read_header(path)
    require_complete(header, path)
    return header


def test_the_demo_is_read_as_the_gguf_package_reads_it() -> None:
    header = read_header(DEMO)

    reader = gguf.GGUFReader(DEMO)
    assert header.version == 3
    assert header.data_offset == reader.data_offset
    assert [(tensor.name, tensor.dims, tensor.type, tensor.size_bytes) for tensor in header.tensors] == [
        (tensor.name, tuple(tensor.shape.tolist()), int(tensor.tensor_type), tensor.n_bytes)
        for tensor in reader.tensors
    ]
    assert {key: value for key, value in header.metadata.items() if isinstance(value, str | int | float)} == {
        key: field.contents()
        for key, field in reader.fields.items()
        if not key.startswith("GGUF.") and field.types[0] != gguf.GGUFValueType.ARRAY
    }


def test_the_demo_is_complete_to_the_byte() -> None:
    header = read_header(DEMO)

    require_complete(header, DEMO)
    assert header.expected_size == header.size_bytes == DEMO.stat().st_size


def test_sizes_of_types_are_those_of_the_gguf_package() -> None:
    theirs = {int(kind): (kind.name, *sizes) for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    del theirs[9]  # Q8_1 is never stored; the package says 40 bytes, ggml 36

    assert {number: GGML_TYPES[number] for number in theirs} == theirs


def test_version_2_is_read(file: Path) -> None:
    assert read(file, raw_gguf(version=2)).version == 2


@pytest.mark.parametrize(
    ("kind", "data", "value"),
    [
        pytest.param(0, b"\xff", 255, id="uint8"),
        pytest.param(1, b"\xff", -1, id="int8"),
        pytest.param(2, b"\x01\x02", 513, id="uint16"),
        pytest.param(3, b"\xfe\xff", -2, id="int16"),
        pytest.param(U32, b"\x01\0\0\x80", 2**31 + 1, id="uint32"),
        pytest.param(5, b"\xff" * 4, -1, id="int32"),
        pytest.param(FLOAT, struct.pack("<f", 0.5), 0.5, id="float32"),
        pytest.param(BOOL, b"\x01", True, id="bool"),
        pytest.param(STRING, raw_string("ä"), "ä", id="string"),
        pytest.param(10, b"\xff" * 8, 2**64 - 1, id="uint64"),
        pytest.param(I64, b"\xff" * 8, -1, id="int64"),
        pytest.param(12, struct.pack("<d", 1e300), 1e300, id="float64"),
        pytest.param(STRING, raw_string(b"\0\xff\0"), "\0\ufffd\0", id="no UTF-8"),
        pytest.param(ARRAY, struct.pack("<IQ2B", 0, 2, 7, 8), (7, 8), id="array"),
        pytest.param(ARRAY, struct.pack("<IQ", STRING, 1) + raw_string("de"), ("de",), id="array of strings"),
    ],
)
def test_a_value_is_read(file: Path, kind: int, data: bytes, value: object) -> None:
    header = read(file, raw_gguf([raw_key("a.key", kind, data)]))

    assert header.metadata["a.key"] == value


def test_a_long_array_is_passed_over(file: Path) -> None:
    numbers = raw_array("numbers", I64, 1000, bytes(8000))
    words = raw_array("words", STRING, 65, raw_string("x") * 65)
    header = read(file, raw_gguf([numbers, words, raw_key("last", BOOL, b"\0")]))

    assert header.metadata == {
        "numbers": ArrayInfo(type=I64, length=1000),
        "words": ArrayInfo(type=STRING, length=65),
        "last": False,
    }


def test_a_vocabulary_longer_than_the_window_is_passed_over(file: Path) -> None:
    lengths = [0, 1, 7, 300, 5000] * 20 + [400_000] + [3] * 100_000
    words = raw_array("words", STRING, len(lengths), b"".join(raw_string(b"w" * length) for length in lengths))
    header = read(file, raw_gguf([words, raw_key("last", BOOL, b"\x01")]))

    assert header.metadata["last"] is True


def test_a_header_costs_a_bounded_amount_of_memory(file: Path) -> None:
    words = raw_array("words", STRING, 50_000, raw_string("twelve bytes" * 5) * 50_000)
    file.write_bytes(raw_gguf([words]))
    del words

    tracemalloc.start()
    read_header(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("alignment", [1, 32, 4096])
def test_data_begins_at_the_alignment(file: Path, alignment: int) -> None:
    key = raw_key("general.alignment", U32, struct.pack("<I", alignment))
    file.write_bytes(raw_gguf([key], [raw_tensor("a", [3])]))
    header = read_header(file)

    assert header.data_offset % alignment == 0
    assert header.data_offset - header.size_bytes < alignment
    assert header.expected_size == header.data_offset + 12


def test_a_tensor_knows_its_size() -> None:
    assert Tensor(name="a", dims=(256, 2), type=12, offset=0).size_bytes == 288


def test_an_unknown_type_gives_no_verdict(file: Path) -> None:
    header = read(file, raw_gguf(tensors=[raw_tensor("a", [32], kind=999), raw_tensor("b", [32], offset=10**9)]))

    assert header.tensors[0].size_bytes is None
    assert header.expected_size is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"Once upon a time\n", "a text file", id="text"),
        pytest.param("Grüße\n".encode() * 100, "a text file", id="text with a letter cut in two"),
        pytest.param(b"\n<!DOCTYPE html><html>", "an HTML page", id="web page"),
        pytest.param(b"<html lang=en>", "an HTML page", id="web page without a type"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer", id="Git LFS"),
        pytest.param(b"PK\x03\x04...", "a zip archive", id="zip"),
        pytest.param(struct.pack("<Q", 20) + b'{"a":{}}', "a safetensors file", id="safetensors"),
        pytest.param(b"tjgg\x03\0\0\0", "GGML format", id="GGML"),
        pytest.param(b"\x7fELF\x02", "a program", id="program"),
        pytest.param(b"MZqFpD='\n", "a llamafile", id="llamafile"),
        pytest.param(b'{"schemaVersion": 2}', "a JSON file", id="JSON"),
        pytest.param(bytes(4096), "nothing but zeros", id="zeros"),
        pytest.param(b"\xff\xfe\xfd\xfc\xfb", "begins with ff fe fd fc", id="unknown"),
    ],
)
def test_another_file_is_called_what_it_seems_to_be(file: Path, data: bytes, words: str) -> None:
    with pytest.raises(NotAGGUF, match=words) as caught:
        read(file, data)

    assert "x.gguf" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(raw_gguf(version=1), "version 1;", id="version 1"),
        pytest.param(raw_gguf(version=4), "version 4;", id="version 4"),
        pytest.param(b"GGUF\0\0\0\x03" + bytes(16), "big-endian", id="big endian"),
        pytest.param(raw_gguf(counts=(2**63, 0)), "tensors", id="too many tensors"),
        pytest.param(raw_gguf(counts=(0, 2**40)), "keys", id="too many keys"),
        pytest.param(raw_gguf([raw_key("a", 13, b"")]), "type 13", id="unknown type"),
        pytest.param(raw_gguf([raw_array("a", ARRAY, 1, b"")]), "type 9", id="array of arrays"),
        pytest.param(raw_gguf([raw_array("a", STRING, 2**60, b"")]), "length", id="impossible array"),
        pytest.param(raw_gguf([raw_key("a", STRING, b"\xff" * 8)]), "length", id="impossible string"),
        pytest.param(raw_gguf([raw_array("a", STRING, 65, b"\xff" * 2000)]), "length", id="impossible word"),
        pytest.param(raw_gguf([raw_key("general.alignment", U32, bytes(4))]), "alignment", id="alignment 0"),
        pytest.param(raw_gguf([raw_key("general.alignment", U32, b"\x21\0\0\0")]), "alignment", id="alignment 33"),
        pytest.param(
            raw_gguf([raw_key("general.alignment", STRING, raw_string("8"))]), "alignment", id="alignment '8'"
        ),
        pytest.param(raw_gguf(tensors=[raw_tensor("a", [1] * 5)]), "5 dimensions", id="five dimensions"),
        pytest.param(raw_gguf(tensors=[raw_tensor("a", [2**62] * 4)]), "would need", id="impossible tensor"),
    ],
)
def test_a_damaged_file_says_where(file: Path, data: bytes, words: str) -> None:
    with pytest.raises(NotAGGUF, match=words):
        read(file, data)


def test_a_file_cut_in_half_says_how_much_is_there(file: Path) -> None:
    whole = DEMO.read_bytes()

    with pytest.raises(TruncatedFile, match=rf"{len(whole) // 2:,} of {len(whole):,} bytes \(50 %\)") as caught:
        read(file, whole[: len(whole) // 2])
    assert "Download" in caught.value.hint


def test_a_file_cut_by_one_byte_is_cut_off(file: Path) -> None:
    with pytest.raises(TruncatedFile, match="99 %"):
        read(file, DEMO.read_bytes()[:-1])


def test_a_file_cut_anywhere_is_cut_off_or_empty(file: Path) -> None:
    whole = DEMO.read_bytes()
    header = read_header(DEMO).data_offset
    places = [
        *range(2000),
        *range(2000, header, 997),
        *range(header - 40, header + 40),
        *range(header, len(whole), 200_003),
    ]
    file.write_bytes(whole)

    for place in sorted(places, reverse=True):
        os.truncate(file, place)
        with pytest.raises(TruncatedFile if place else NotAGGUF):
            require_complete(read_header(file), file)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 6000), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_bytes_raise_only_our_errors(file: Path, flips: list[tuple[int, int]]) -> None:
    data = bytearray(HEADER)
    for place, mask in flips:
        data[place % len(data)] ^= mask
    file.write_bytes(data)

    with contextlib.suppress(LocalLLMError):
        require_complete(read_header(file), file)


def small_header() -> bytes:
    """Of all kinds of values something, and as dense as can be."""
    keys = [raw_key("general.architecture", STRING, raw_string("llama")), raw_key("general.alignment", U32, b" \0\0\0")]
    keys += [raw_array("words", STRING, 70, raw_string("w") * 70), raw_array("few", STRING, 2, raw_string("w") * 2)]
    keys += [raw_array("numbers", U32, 80, bytes(320)), raw_key("rate", FLOAT, b"\0\0\0\0")]
    return raw_gguf(keys, [raw_tensor(f"blk.{index}", [32, 2], 8, index * 96) for index in range(4)]) + bytes(400)


HEADER = small_header()


def test_a_missing_file_is_not_found(file: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"There is no file .*x\.gguf"):
        read_header(file)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_folder_or_a_pipe_is_not_a_file(file: Path, make: object) -> None:
    assert callable(make)
    make(file)

    with pytest.raises(NotAGGUF, match="not a file"):
        read_header(file)


def test_an_impossible_path_cannot_be_read() -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_header(Path("a\0b"))


def test_an_operating_system_error_is_named() -> None:
    with pytest.raises(ModelError, match="File name too long"):
        read_header(Path("x" * 5000))


def test_a_file_that_shrinks_while_it_is_read_is_cut_off(file: Path) -> None:
    # The kernel gives such a file a size, and nothing to read.
    device = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not device.exists():
        pytest.skip("no file here that is shorter than its size")

    with pytest.raises((NotAGGUF, TruncatedFile)):
        read_header(device)


def test_a_written_file_is_complete(file: Path) -> None:
    header = read_header(write_gguf(file))

    require_complete(header, file)
    assert [tensor.dims for tensor in header.tensors] == [(32, 4)]


def words(count: int, *, last: bytes = b"") -> bytes:
    """A vocabulary, and a key behind it."""
    tokens = b"".join(raw_string(b"w%d" % number) for number in range(count - 1)) + raw_string(last)
    return raw_gguf([raw_array("tokens", 8, count, tokens), raw_key("after", 4, struct.pack("<I", 7))])


@pytest.mark.parametrize(
    "contents",
    [
        pytest.param([words(1000)] * 3, id="the same"),
        pytest.param(
            [words(1000, last=b"a"), words(1000, last=b"bcd"), words(1000, last=b"a")], id="another last word"
        ),
        pytest.param([words(1000), words(1001)], id="a longer one"),
        pytest.param([words(100_000), words(100_000, last=b"x" * 300_000)], id="longer than the buffer"),
    ],
)
def test_a_vocabulary_is_skipped_whether_it_is_known_or_not(tmp_path: Path, contents: list[bytes]) -> None:
    for number, content in enumerate(contents):
        path = tmp_path / f"{number}.gguf"
        path.write_bytes(content)

        assert read_header(path).metadata["after"] == 7


def test_a_known_vocabulary_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    content = words(1000)
    for name, length in (("whole", len(content)), ("cut", 5000)):
        (tmp_path / name).write_bytes(content[:length])

    assert read_header(tmp_path / "whole").metadata["after"] == 7
    with pytest.raises(TruncatedFile):
        read_header(tmp_path / "cut")


def test_only_so_many_vocabularies_are_known(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    for number in range(200):
        path.write_bytes(words(100 + number))
        read_header(path)

    assert max(len(VOCABULARIES), len(TABLES)) <= 64


def test_a_tensor_table_longer_than_the_buffer_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    names = [f"{'long ' * 40}{number}" for number in range(3000)]
    path.write_bytes(raw_gguf(tensors=[raw_tensor(name, [1, 2, 3], 0, 32) for name in names]))

    tensors = read_header(path).tensors

    assert [tensor.name for tensor in tensors] == names
    assert {(tensor.dims, tensor.type, tensor.offset) for tensor in tensors} == {((1, 2, 3), 0, 32)}


def test_a_part_of_a_file_is_as_large_as_it_was_said_to_be(file: Path) -> None:
    data = small_header()
    file.write_bytes(b"before" + data + b"behind it")

    assert read_header(file, offset=6, size=len(data)).size_bytes == len(data)
