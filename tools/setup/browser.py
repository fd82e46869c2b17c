"""Chromium for the browser tests."""

import os
import shutil

from tools.setup import debian
from tools.setup.environment import LOGS
from tools.setup.terminal import SetupFailed, say

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"


def find() -> str | None:
    """The path of a Chromium or Chrome on this machine; `CHROMIUM` names one."""
    wanted = os.environ.get("CHROMIUM")
    names = [wanted] if wanted else [*_NAMES, _MAC]
    return next(filter(None, map(shutil.which, names)), None)


def ensure() -> None:
    """Have a Chromium, installed if need be."""
    if find() is not None:
        return
    try:
        # Without recommended packages there would be no font to draw with.
        debian.install("chromium", "fonts-dejavu-core", why="No Chromium was found", log=LOGS / "chromium.log")
    except SetupFailed:
        say("the browser tests need Chromium or Chrome; CHROMIUM=/path/to/it names one,")
        say("and `make test BROWSER=no` leaves these tests out")
        raise
