"""Lists and describes thousands of broken and truncated files, and prints what came of it."""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from localllm_magics import demo
from localllm_magics.catalog.discover import Catalog
from localllm_magics.catalog.header_cache import HeaderCache
from localllm_magics.catalog.inspect import describe_file
from localllm_magics.core.errors import LocalLLMError
from tests.catalog.broken_files import broken_files


def main() -> int:
    """Print the figures, and return the exit status: anything but an error in words ends the run."""
    parser = argparse.ArgumentParser(prog="python -m tools.broken_models", description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="how many files")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="localllm-broken-") as name:
        folder = Path(name)
        ends, slowest = _described(folder, options.count, options.seed)
        start = time.perf_counter()
        found = Catalog(HeaderCache(folder / "cache" / "headers.json"), ()).find(folder)
        seconds = time.perf_counter() - start
    for end, count in ends.most_common():
        print(f"{count:6,}  {end}")
    problems = sum(info.problem is not None for info in found.models)
    print(f"{sum(ends.values()):,} files described, the slowest in {1000 * slowest:.0f} ms.")
    print(f"{len(found.models):,} models listed in {seconds:.1f} s, {problems:,} with a problem in words.")
    return 0


def _described(folder: Path, count: int, seed: int) -> tuple[Counter[str], float]:
    """How the description of each file ends, and how long the slowest took."""
    ends: Counter[str] = Counter()
    slowest = 0.0
    for name, data in broken_files(demo.PATH, count, seed):
        path = folder / name
        path.write_bytes(data)
        start = time.perf_counter()
        try:
            describe_file(path, reference=name, source="folder")
            ends["described"] += 1
        except LocalLLMError as error:
            ends[type(error).__name__] += 1
        slowest = max(slowest, time.perf_counter() - start)
    return ends, slowest


if __name__ == "__main__":
    sys.exit(main())
