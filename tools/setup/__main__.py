"""The set-up's command line."""

import argparse
import sys
import time

from tools.setup import browser, environment, javascript, llama, servers
from tools.setup.terminal import SetupFailed, say


def main() -> int:
    """Set up, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.setup", description=__doc__)
    parser.add_argument("--browser", action="store_true", help="bring in Chromium too")
    parser.add_argument("--servers", action="store_true", help="compile llama-server and its kin too")
    parser.add_argument("--openmp", action="store_true", help="compile a build with OpenMP too, for the benchmark")
    wanted = parser.parse_args()
    started = time.monotonic()
    try:
        with environment.one_at_a_time():
            _set_up(wanted)
    except SetupFailed as failure:
        print(f"\n[set-up] stopped: {failure}", file=sys.stderr)
        return 1
    if time.monotonic() - started > 1:
        say(f"ready after {time.monotonic() - started:.0f} seconds")
    return 0


def _set_up(wanted: argparse.Namespace) -> None:
    environment.create()
    environment.once("packages", environment.packages_key(), environment.install_packages)
    environment.once("javascript", javascript.key(), javascript.install)
    recipe = llama.recipe()
    environment.once("llama", recipe.key, lambda: llama.install(recipe))
    if wanted.servers:
        environment.once("servers", recipe.key, lambda: servers.install(recipe))
    if wanted.openmp:
        other = llama.recipe(openmp=True)
        environment.once("openmp", other.key, lambda: llama.install_beside(other, environment.OPENMP_BUILD))
    if wanted.browser:
        browser.ensure()


if __name__ == "__main__":
    sys.exit(main())
