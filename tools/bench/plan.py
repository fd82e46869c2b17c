"""What is measured, in which order, and how often."""

from collections.abc import Callable, Mapping
from functools import partial

from tools.bench.daemon import daemon, first_token
from tools.bench.decode import decode
from tools.bench.decoder import decoder
from tools.bench.forecast import forecast
from tools.bench.listing import listing
from tools.bench.memory_limits import all_loads, memory_limits, quick_loads
from tools.bench.neighbour import neighbour
from tools.bench.picker import picker
from tools.bench.prefill import prefill
from tools.bench.result import Section
from tools.bench.slot import slot
from tools.bench.startup import first_output, load_extension
from tools.bench.stopping import stopping
from tools.bench.subject import demo_subject, half_billion_subject, tiny_subject
from tools.bench.traffic import traffic
from tools.bench.unload import unload

Say = Callable[[str], None]
Measure = Callable[[], Section]


def full(say: Say) -> Mapping[str, Measure]:
    """Every row, with enough rounds for a median; subjects are made when their turn comes."""
    large = partial(half_billion_subject, rounds=7, tokens=100)
    return {
        "decode-demo": lambda: decode(demo_subject(rounds=15), say),
        "decode-large": lambda: decode(large(), say),
        "neighbour": lambda: neighbour(large(), say),
        "prefill": lambda: prefill(large(), say),
        "traffic-fast": lambda: traffic(tiny_subject(rounds=1, tokens=100), (200, 1000, 4000), say),
        "traffic-slow": lambda: traffic(large(), (200, 1000), say),
        "load": lambda: load_extension(15, say),
        "first-output": lambda: first_output(demo_subject(rounds=1), 7, 5, say),
        "stop": lambda: stopping(large(), 20, say),
        "unload": lambda: unload(large(), 50, say),
        "daemon-demo": lambda: daemon(demo_subject(rounds=12), 256, say),
        "daemon-large": lambda: daemon(half_billion_subject(rounds=4, tokens=256), 256, say),
        "daemon-first-token": lambda: first_token(
            (demo_subject(rounds=30), half_billion_subject(rounds=15, tokens=8)), say
        ),
        "daemon-stop": lambda: slot(large(), 30, say),
        "decoder": lambda: decoder(9, say),
        "listing": lambda: listing(1000, 5, say),
        "picker": lambda: picker(2000, 3, say),
        "forecast": lambda: forecast(7, 4, say),
        "memory-limits": lambda: memory_limits(all_loads(), say),
    }


def quick(say: Say) -> Mapping[str, Measure]:
    """A smoke run: small models and few rounds."""
    tiny = partial(tiny_subject, rounds=2, tokens=50)
    return {
        "decode-demo": lambda: decode(demo_subject(rounds=2), say),
        "decode-large": lambda: decode(tiny(), say),
        "neighbour": lambda: neighbour(tiny(), say),
        "prefill": lambda: prefill(tiny(), say),
        "traffic-fast": lambda: traffic(tiny(), (200, 1000), say),
        "load": lambda: load_extension(3, say),
        "first-output": lambda: first_output(demo_subject(rounds=1), 1, 5, say),
        "stop": lambda: stopping(tiny(), 3, say),
        "unload": lambda: unload(tiny(), 5, say),
        "daemon-demo": lambda: daemon(demo_subject(rounds=2), 64, say),
        "daemon-large": lambda: daemon(tiny(), 64, say),
        "daemon-first-token": lambda: first_token((demo_subject(rounds=3), tiny()), say),
        "daemon-stop": lambda: slot(tiny(), 3, say),
        "decoder": lambda: decoder(3, say),
        "listing": lambda: listing(100, 1, say),
        "picker": lambda: picker(200, 1, say),
        "forecast": lambda: forecast(2, 2, say),
        "memory-limits": lambda: memory_limits(quick_loads(), say),
    }
