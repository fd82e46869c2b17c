"""Runs a notebook in a real kernel and shows its answers as they come: `run_quickstart NOTEBOOK`."""

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

COMPLETION = "application/vnd.localllm.completion+json"
BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")
CELL_SECONDS = 600

# A message of the Jupyter protocol, whose content depends on its type.
Message = dict[str, Any]


class Terminal:
    """Shows the outputs of one cell after another, and keeps the finished completions."""

    def __init__(self) -> None:
        self.completions: list[dict[str, Any]] = []
        self.failed = False
        self._streamed = False

    def show_source(self, number: int, source: str) -> None:
        """Print a cell as Jupyter shows it."""
        self._streamed = False
        indented = source.replace("\n", "\n   ...: ")
        print(f"\n{BOLD}In [{number}]: {indented}{PLAIN}\n", flush=True)

    def show(self, message: Message) -> None:
        """Print what a message adds to the output."""
        content = message["content"]
        match message["msg_type"]:
            case "stream":
                self._streamed = True
                print(content["text"], end="", flush=True)
            case "display_data" | "execute_result" | "update_display_data":
                # What has a display id is a status line, drawn over and over while the cell runs.
                is_status = "display_id" in content.get("transient", {})
                self._show_bundle(content["data"], is_status=is_status)
            case "error":
                self.failed = True
                traceback = "\n".join(content["traceback"])
                print(traceback if BOLD else re.sub(r"\x1b\[[\d;]*m", "", traceback), flush=True)

    def _show_bundle(self, data: dict[str, Any], *, is_status: bool) -> None:
        plain = str(data.get("text/plain", ""))
        if COMPLETION in data:
            self.completions.append(data[COMPLETION])
            # The text was streamed, so only the line of stats is new.
            print(f"\n{DIM}{plain.rstrip().splitlines()[-1]}{PLAIN}" if self._streamed else plain, flush=True)
        elif not is_status:
            print(plain, flush=True)


def main() -> int:
    """Run the notebook, and return the exit status."""
    path = Path(sys.argv[1])
    notebook = nbformat.read(path, as_version=4)
    terminal = Terminal()
    print(f"Running {path} in a real kernel, on the bundled model.")
    with _kernel(path.parent) as client:
        _run_cells([cell.source for cell in notebook.cells if cell.cell_type == "code"], client, terminal)
    tokens = sum(completion["stats"]["completion_tokens"] for completion in terminal.completions)
    print(f"\n{tokens} tokens in {len(terminal.completions)} answers. `make lab` opens the notebooks in JupyterLab.")
    return 1 if terminal.failed or not terminal.completions else 0


@contextmanager
def _kernel(folder: Path) -> Iterator[BlockingKernelClient]:
    """A kernel that works in FOLDER, reached over sockets that only this user can open."""
    with tempfile.TemporaryDirectory() as sockets:
        manager = KernelManager(kernel_name="python3", transport="ipc", ip=f"{sockets}/kernel")
        manager.start_kernel(cwd=str(folder))
        client = manager.blocking_client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=60)
            yield client
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


def _run_cells(sources: list[str], client: BlockingKernelClient, terminal: Terminal) -> None:
    for number, source in enumerate(sources, start=1):
        terminal.show_source(number, source)
        client.execute_interactive(source, allow_stdin=False, output_hook=terminal.show, timeout=CELL_SECONDS)
        if terminal.failed:
            return


if __name__ == "__main__":
    sys.exit(main())
