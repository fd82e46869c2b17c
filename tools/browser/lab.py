"""JupyterLab, started for one use and shown by a headless Chromium."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
from playwright.sync_api import Locator, Page, Request, sync_playwright

from tools.setup import browser

START_SECONDS = 120
CELL_SECONDS = 120
_CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_LAB_ARGUMENTS = [
    "--no-browser",
    "--allow-root",
    "--ip=127.0.0.1",
    "--ServerApp.port_retries=0",
    "--IdentityProvider.token=",
    "--ServerApp.password=",
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
    "--LabApp.expose_app_in_browser=True",
]
_KERNEL_IS_READY = """() => {
    const panel = window.jupyterapp?.shell?.currentWidget;
    const kernel = panel?.sessionContext?.session?.kernel;
    return panel?.sessionContext?.isReady && kernel?.status === 'idle' && kernel?.connectionStatus === 'connected';
}"""
_IS_DONE = """number => {
    const prompts = document.querySelectorAll('.jp-Notebook .jp-CodeCell .jp-InputArea-prompt');
    return /^\\[\\d+\\]/.test(prompts[number]?.textContent ?? '');
}"""


_SCROLL = """pixels => {
    const scroller = document.querySelector('.jp-WindowedPanel-outer');
    scroller.scrollBy(0, pixels);
    return scroller.scrollTop;
}"""
_WATCH = """number => {
    const cell = document.querySelectorAll('.jp-Notebook .jp-CodeCell')[number];
    const scroller = document.querySelector('.jp-WindowedPanel-outer');
    const output = cell.querySelector('.jp-Cell-outputWrapper') ?? cell;
    const frames = window.cardFrames = [];
    const look = () => {
        if (window.cardFrames !== frames) return;
        const formulas = output.querySelectorAll('mjx-container').length;
        frames.push([output.getBoundingClientRect().height, scroller.scrollTop, formulas]);
        requestAnimationFrame(look);
    };
    look();
}"""


@dataclass(frozen=True, slots=True)
class Frame:
    """A cell's output in one frame of the browser: its height and where the page is scrolled to, in pixels."""

    height: float
    scroll: float
    formulas: int


def write(path: Path, *cells: str) -> None:
    """Make a notebook of code CELLS, to be run by this environment's Python."""
    document = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    document.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(document, path)


class Notebook:
    """A notebook that is open in JupyterLab.

    Args:
        page: The browser's page.
        foreign: Addresses outside this machine that the page asked for.
    """

    def __init__(self, page: Page, foreign: list[str]) -> None:
        self.page = page
        self.foreign = foreign

    def run(self, number: int, *, wait: bool = True) -> None:
        """Run code cell NUMBER, from 0."""
        self.cell(number).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        if wait:
            self.wait(number)

    def run_all(self) -> None:
        """Run every cell, as the menu does."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def save(self) -> None:
        """Store the notebook with its outputs."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")

    def interrupt(self) -> None:
        """Press the stop button of the toolbar."""
        self.page.locator('.jp-NotebookPanel-toolbar [data-command="notebook:interrupt-kernel"]').first.click()

    def scroll(self, pixels: int) -> float:
        """Scroll the notebook by PIXELS; where it is then."""
        position: float = self.page.evaluate(_SCROLL, pixels)
        return position

    @contextmanager
    def frames(self, number: int) -> Iterator[list[Frame]]:
        """The frames of code cell NUMBER while the block runs, complete at its end."""
        frames: list[Frame] = []
        self.page.evaluate(_WATCH, number)
        yield frames
        seen = self.page.evaluate("() => { const seen = window.cardFrames; window.cardFrames = null; return seen; }")
        frames += [Frame(*frame) for frame in seen]

    def wait(self, number: int) -> None:
        """Wait until code cell NUMBER has run."""
        self.page.wait_for_function(_IS_DONE, arg=number, timeout=CELL_SECONDS * 1000)

    def cell(self, number: int) -> Locator:
        """Code cell NUMBER."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def output(self, number: int) -> str:
        """The text of a cell's output, also where it is out of view."""
        return self.cell(number).locator(".jp-Cell-outputArea").text_content() or ""


@contextmanager
def lab(folder: Path, **variables: str) -> Iterator[str]:
    """The address of a JupyterLab on FOLDER, with settings of its own and VARIABLES in its environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home, Path(home, "lab.log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *_LAB_ARGUMENTS, f"--port={port}", f"--ServerApp.root_dir={folder}"],
            env=os.environ | _settings(Path(home)) | variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url, process, Path(home, "lab.log"))
            yield url
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def notebook(url: str, name: str) -> Iterator[Notebook]:
    """The notebook NAME, open in a browser, with a kernel that is ready."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=browser.find(),
            headless=True,
            viewport={"width": 1100, "height": 800},
            args=_CHROMIUM_ARGUMENTS,
        )
        try:
            page, foreign = context.new_page(), list[str]()
            page.on("request", lambda request: _note(request, url, foreign))
            page.goto(f"{url}/lab/tree/{name}?reset")  # without what was open before
            page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=START_SECONDS * 1000)
            page.wait_for_function(_KERNEL_IS_READY, timeout=START_SECONDS * 1000)
            yield Notebook(page, foreign)
        finally:
            context.close()


def _note(request: Request, url: str, foreign: list[str]) -> None:
    if not request.url.startswith((url, url.replace("http", "ws", 1), "data:", "blob:")):
        foreign.append(request.url)


def _settings(home: Path) -> dict[str, str]:
    """An environment in which nothing of the user's own Jupyter is read or written."""
    news = home / "settings" / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
    (news / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    return {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_PREFER_ENV_PATH": "1",
    }


def _wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"{url}/api", timeout=1)  # noqa: S310 - the server started above
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()}")
