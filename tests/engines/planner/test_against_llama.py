import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_plans_are_close_to_those_of_llama_cpp_and_hardly_ever_low() -> None:
    # Devices that are added stay for the life of a process.
    command = [sys.executable, "-m", "tools.planner_check", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "100.0%" in done.stdout.splitlines()[-1]
