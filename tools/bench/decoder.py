"""How fast recorded streams become records, JSON parsing included."""

import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from localllm_magics.engines.openai.records import RecordDecoder
from localllm_magics.engines.server.response import ndjson_records
from tools.bench.result import Section, at_least, ratio_row

_RECORDINGS = Path(__file__).parents[2] / "tests" / "data" / "exchanges"
_SIZE, _PIECE = 4_000_000, 64 * 1024
_LIMIT = 20  # MB/s, of the parser of the standard library
_DATA = b"data: {"

Decode = Callable[[Iterator[bytes]], Iterable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    """A stream as a server sends it, its records one by one, with what decodes it."""

    name: str
    records: Sequence[bytes]
    decode: Decode


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rates:
    """MB/s of several runs, by the clock and by the CPU's time."""

    wall: list[float]
    cpu: list[float]


def decoder(runs: int, say: Callable[[str], None]) -> Section:
    """Both formats of streams, in large pieces and record by record."""
    rows = []
    formats = (
        _Format(name="NDJSON of Ollama", records=_recorded("ollama"), decode=ndjson_records),
        _Format(
            name="SSE of llama-server",
            records=_recorded("llama-server"),
            decode=lambda chunks: RecordDecoder().records(chunks),
        ),
    )
    for format_ in formats:
        say(f"decoding {format_.name}: {runs} runs")
        found = _measured(format_, runs)
        for fed, limit in (("in pieces of 64 KiB", _LIMIT), ("record by record", None)):
            ours, peer = found[fed], found["json"]
            row = ratio_row(f"{format_.name}, {fed}, against `json.loads` of each line", "MB/s", ours.wall, peer.wall)
            rows.append(replace(row, target=at_least(statistics.median(ours.wall), limit, "MB/s")))
            rows.append(ratio_row(f"{format_.name}, {fed}: the same by CPU time", "MB/s", ours.cpu, peer.cpu))
    return Section(
        title=f"Decoding {_SIZE / 1e6:.0f} MB of recorded streams, {runs} runs",
        rows=tuple(rows),
        notes=("The peer has the whole stream at once, knows that each line is a record, and checks nothing.",),
    )


def _measured(format_: _Format, runs: int) -> Mapping[str, _Rates]:
    stream = b"".join(format_.records)
    pieces = [stream[start : start + _PIECE] for start in range(0, len(stream), _PIECE)]
    count = len(list(_parsed(iter([stream]))))
    contenders: dict[str, tuple[Decode, Sequence[bytes]]] = {
        "in pieces of 64 KiB": (format_.decode, pieces),
        "record by record": (format_.decode, format_.records),
        "json": (_parsed, [stream]),
    }
    rates = {name: _Rates(wall=[], cpu=[]) for name in contenders}
    for number in range(runs + 1):
        for name, (decode, chunks) in contenders.items():
            wall, cpu = time.perf_counter(), time.process_time()
            found = sum(isinstance(record, dict) for record in decode(iter(chunks)))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            assert found >= count, f"{format_.name}, {name}: {found} records of {count}"
            if number:
                rates[name].wall.append(len(stream) / 1e6 / wall)
                rates[name].cpu.append(len(stream) / 1e6 / cpu)
    return rates


def _parsed(chunks: Iterator[bytes]) -> Iterator[object]:
    """The records of a stream of either format, with the least that finds them."""
    for chunk in chunks:
        for line in chunk.split(b"\n"):
            if line.startswith(_DATA):
                yield json.loads(line[len(_DATA) - 1 :])
            elif line.startswith(b"{"):
                yield json.loads(line)


def _recorded(server: str) -> Sequence[bytes]:
    """The frames of the longest answer of SERVER, over and over."""
    entries = json.loads((_RECORDINGS / server / "fill-window.json").read_text("utf-8"))
    bodies = [[frame["text"].encode() for frame in entry["response"]["frames"]] for entry in entries]
    longest = max(bodies, key=len)
    return longest * (_SIZE // sum(map(len, longest)))
