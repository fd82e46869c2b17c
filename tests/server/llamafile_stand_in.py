"""A llamafile for tests: laid out as zipalign lays one out, and running the real llama-server.

The head has the letters of a real one, so the system refuses to start the file and only a shell does. The shell runs
this module, which does what the program inside a real one does: it reads `.args`, takes the weights out of the
archive, and becomes the server.
"""

import os
import shlex
import shutil
import struct
import sys
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ALIGNMENT = 1 << 16
VERSION = "0.10.4"
_U32_FULL = 0xFFFFFFFF
_MADE_BY, _NEEDS = 3 << 8 | 45, 45  # Unix, and Zip64
_UTF8 = 0x800
_TIME, _DATE = 22 << 11 | 13 << 5 | 20 >> 1, (2023 - 1980) << 9 | 11 << 5 | 14
_LAUNCHER_FLAGS = {"--server", "--nobrowser", "--chat", "--cli", "--unsecure"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What goes into the archive; the sizes and the method can be made to lie."""

    name: str
    data: bytes
    method: int = zipfile.ZIP_STORED
    claimed_size: int | None = None
    claimed_header: int | None = None


def make_llamafile(
    path: Path, gguf: Path, args: str | None, server: Path, *, version: str = VERSION, name: str = "model.gguf"
) -> Path:
    """Write a llamafile with the weights of GGUF, run by SERVER."""
    members = [Member(name=name, data=gguf.read_bytes())]
    if args is not None:
        members.append(Member(name=".args", data=args.encode()))
    path.write_bytes(head(server, version) + archive(members, start=len(head(server, version))))
    path.chmod(0o755)
    return path


def head(server: Path, version: str = VERSION) -> bytes:
    """What a shell runs, and no system takes for a program."""
    command = shlex.join([sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(server), version])
    return f'MZqFpD=\'\njtest\'\nexec {command} "$0" "$@"\nexit 1\n'.encode()


def archive(members: Sequence[Member], *, start: int) -> bytes:
    """The members from START on, each with its data at a multiple of 64 KiB, and the directory."""
    written, directory = bytearray(), bytearray()
    for member in members:
        name = member.name.encode()
        written += bytes(-(start + len(written) + 30 + len(name) + 20) % ALIGNMENT)
        offset = start + len(written)
        size = len(member.data) if member.claimed_size is None else member.claimed_size
        shared = struct.pack(
            "<HHHHHIIIH",
            _NEEDS,
            _UTF8,
            member.method,
            _TIME,
            _DATE,
            zlib.crc32(member.data),
            *[_U32_FULL] * 2,
            len(name),
        )
        written += b"PK\x03\x04" + shared + struct.pack("<H", 20) + name
        written += struct.pack("<HHQQ", 1, 16, size, size) + member.data
        place = offset if member.claimed_header is None else member.claimed_header
        directory += b"PK\x01\x02" + struct.pack("<H", _MADE_BY) + shared
        directory += struct.pack("<HHHHII", 28, 0, 0, 0, 0o100644 << 16, _U32_FULL) + name
        directory += struct.pack("<HHQQQ", 1, 24, size, size, place)
    return bytes(written + directory + end(len(members), len(directory), start + len(written)))


def end(count: int, length: int, offset: int) -> bytes:
    """What ends an archive: COUNT members, in a directory of LENGTH bytes at OFFSET."""
    wide = struct.pack("<QHHIIQQQQ", 44, _MADE_BY, _NEEDS, 0, 0, count, count, length, offset)
    locator = struct.pack("<IQI", 0, (offset + length) % 2**64, 1)
    narrow = struct.pack("<HHHHIIH", 0, 0, min(count, 0xFFFF), min(count, 0xFFFF), min(length, _U32_FULL), _U32_FULL, 0)
    return b"PK\x06\x06" + wide + b"PK\x06\x07" + locator + b"PK\x05\x06" + narrow


def _run(server: str, version: str, me: str, typed: Sequence[str]) -> None:
    """Become the server."""
    with zipfile.ZipFile(me) as opened:
        text = opened.read(".args").decode() if ".args" in opened.namelist() else ""
        words = [*_merged(shlex.split(text, comments=True), typed)]
        if "--version" in words:
            sys.stdout.write(f"llamafile v{version}\n")
            return
        sys.stdout.write(f"arguments: {shlex.join(words)}\n")
        sys.stdout.flush()
        weights = next((word for word in words if word.startswith("/zip/")), None)
        if weights is not None:
            taken_out = f"{me}.{os.getpid()}.gguf"
            with opened.open(weights.removeprefix("/zip/")) as source, open(taken_out, "wb") as copy:  # noqa: PTH123
                shutil.copyfileobj(source, copy)
            words[words.index(weights)] = taken_out
    os.execv(server, ["llamafile", *(word for word in words if word not in _LAUNCHER_FLAGS)])  # noqa: S606


def _merged(own: Sequence[str], typed: Sequence[str]) -> Sequence[str]:
    if "..." not in own:
        return [*own, *typed]
    place = own.index("...")
    return [*own[:place], *typed, *own[place + 1 :]]


if __name__ == "__main__":
    _run(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
