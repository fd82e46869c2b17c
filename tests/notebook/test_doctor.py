"""The doctor names what is installed and how to mend what is missing."""

import subprocess
import sys

from localllm_magics.core.version import __version__
from localllm_magics.notebook.doctor import checkup

WITHOUT_ENGINE = """
import sys
sys.modules["llama_cpp"] = None
from localllm_magics.notebook.doctor import checkup
print(checkup())
"""


def test_it_names_every_part() -> None:
    rows = {row[0]: row[1:] for row in checkup().rows}

    assert rows["localllm-magics"] == (__version__, "")
    assert sys.executable in rows["Python"][0]
    assert rows["Kernel engine"][0].startswith("llama-cpp-python ")
    assert rows["Memory"][0].endswith(" free")


def test_what_is_wrong_has_a_way_out() -> None:
    rows = {row[0]: row[1:] for row in checkup().rows}

    assert rows["Build"][0] == "reads and writes tokens" or "pip install" in rows["Build"][1]
    assert "GPU" not in rows or "pip install" in rows["GPU"][1]


def test_without_the_engine_it_says_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_ENGINE], capture_output=True, text=True, check=True)

    (row,) = (line for line in done.stdout.splitlines() if line.startswith("Kernel engine"))
    assert "not installed" in row
    assert "pip install" in row
