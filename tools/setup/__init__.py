"""Makes a checkout ready to run: `python3 -m tools.setup`, with nothing but Python itself.

The steps, each done again only when what it depends on has changed:

1. the virtual environment `.venv` (environment.py);
2. the Python packages, at the versions of `constraints.txt` (environment.py);
3. TypeScript, for the checks of the widgets' JavaScript (javascript.py);
4. llama-cpp-python, compiled for this machine and tried out (llama.py, trial.py);
5. with `--servers`, llama-server and its kin, compiled likewise (servers.py);
6. with `--browser`, Chromium for the browser tests (browser.py).
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  # the set-up runs on whatever python3 there is
    raise SystemExit("localllm-magics needs Python 3.10 or later. Type: make PYTHON=python3.12")
