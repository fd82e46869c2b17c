"""llama-cpp-python, compiled for this machine, kept in a wheel folder of our own, and tried out.

PyPI has only its source. pip would keep the wheel it compiles, but finds it again by version
alone: a wheel with other flags, or for another CPU, would come back in silence.
"""

import os
import platform
import re
import shutil
import subprocess
import tempfile
from dataclasses import astuple, dataclass
from pathlib import Path

from tools.setup import debian
from tools.setup.environment import CONSTRAINTS, LOGS, PYTHON, ROOT, digest, pip
from tools.setup.terminal import SetupFailed, run, say

_DEMO = ROOT / "localllm_magics" / "demo" / "demo.gguf"
_TRIAL = ROOT / "tools" / "setup" / "trial.py"
_CPU_FACTS = ("model name", "flags", "Features", "CPU implementer", "CPU part", "isa")
_TARGETS = re.compile(r"\[\s*(\d+)/(\d+)\]")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what the compiled wheel is and where it runs."""

    version: str
    cmake_args: str
    c_compiler: str
    cxx_compiler: str
    compiler_version: str
    cpu: str
    system: str

    @property
    def key(self) -> str:
        """A digest of the recipe."""
        return digest(*astuple(self))

    @property
    def folder(self) -> Path:
        """Where the wheel is kept."""
        return self.cache("wheels", "llama-cpp-python")

    def cache(self, kind: str, name: str) -> Path:
        """A folder that outlives this checkout, for what was compiled by this recipe."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cache / "localllm-magics" / kind / f"{name}-{self.version}-{self.key}"


def recipe(*, openmp: bool = False) -> Recipe:
    """The recipe for this machine; `CMAKE_ARGS` in the environment is added at the end.

    Args:
        openmp: Use OpenMP's threads, as the builds of others do.
    """
    c_compiler, cxx_compiler = _find("CC", "cc", "gcc"), _find("CXX", "c++", "g++", "clang++")
    # ggml's own threads: OpenMP's slow down when another library of the kernel uses OpenMP too.
    flags = ["-DGGML_RPC=ON", f"-DGGML_OPENMP={'ON' if openmp else 'OFF'}"]
    if _is_gcc(cxx_compiler):
        # gcc before 13.3 drops the stores to the AMX tile configuration: the first prompt crashes.
        flags += ["-DCMAKE_C_FLAGS=-fno-dse", "-DCMAKE_CXX_FLAGS=-fno-dse"]
    flags += os.environ.get("CMAKE_ARGS", "").split()
    return Recipe(
        version=_pinned_version(),
        cmake_args=" ".join(flags),
        c_compiler=c_compiler,
        cxx_compiler=cxx_compiler,
        compiler_version=_output([cxx_compiler, "--version"]).partition("\n")[0],
        cpu=_cpu(),
        system=" ".join([platform.system(), platform.machine(), *platform.libc_ver()]),
    )


def install(wanted: Recipe) -> None:
    """Install the wheel of WANTED, compiled first if need be, and see it work."""
    wheel = _kept_wheel(wanted) or _build(wanted)
    say(f"installing {wheel.name} ({wanted.cmake_args})")
    # The version is the same for every recipe, so pip would keep what is installed.
    run([PYTHON, "-m", "pip", "uninstall", "--yes", "llama-cpp-python"], log=LOGS / "old-llama.log")
    pip("install", str(wheel), log="llama")
    _try_out(wanted)


def install_beside(wanted: Recipe, folder: Path) -> None:
    """Install the wheel of WANTED into FOLDER, for a process with that in its PYTHONPATH, and not into `.venv`."""
    wheel = _kept_wheel(wanted) or _build(wanted)
    shutil.rmtree(folder, ignore_errors=True)
    pip("install", "--no-deps", "--target", str(folder), str(wheel), log="llama-beside")


def jobs() -> int:
    """How many files are compiled at a time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _build(wanted: Recipe) -> Path:
    say(f"compiling llama-cpp-python {wanted.version} for this machine, {jobs()} files at a time")
    say("this takes about 8 minutes on 2 cores, once; later set-ups take the wheel from")
    say(f"{wanted.folder}")
    wanted.folder.parent.mkdir(parents=True, exist_ok=True)
    env = {
        "CMAKE_ARGS": wanted.cmake_args,
        "CMAKE_BUILD_PARALLEL_LEVEL": str(jobs()),
        "CC": wanted.c_compiler,
        "CXX": wanted.cxx_compiler,
    }
    name = "llama-cpp-python"
    with tempfile.TemporaryDirectory(dir=wanted.folder.parent) as folder:
        command = [str(PYTHON), "-m", "pip", "wheel", "--verbose", "--disable-pip-version-check"]
        command += ["--no-deps", "--no-cache-dir", "--no-binary", name, "--wheel-dir", folder]
        log = LOGS / "llama-build.log"
        run([*command, f"{name}=={wanted.version}"], log=log, env=env, watch=Progress())
        shutil.copytree(folder, wanted.folder, dirs_exist_ok=True)
    wheel = _kept_wheel(wanted)
    if wheel is None:
        raise SetupFailed(f"The compilation left no wheel in {wanted.folder}")
    return wheel


def _kept_wheel(wanted: Recipe) -> Path | None:
    return next(wanted.folder.glob("*.whl"), None)


class Progress:
    """Says every half minute how far the compilation is."""

    def __init__(self) -> None:
        self.next_report = 30.0

    def __call__(self, line: str, seconds: float) -> None:
        """Take one LINE of the compiler's output."""
        found = _TARGETS.search(line)
        if found is None or seconds < self.next_report:
            return
        self.next_report = seconds + 30.0
        say(f"  {found[1]} of {found[2]} compiled after {seconds / 60:.1f} minutes")


def _try_out(wanted: Recipe) -> None:
    """Run the build in a process of its own, where a crash can be seen."""
    trial = subprocess.run(
        [str(PYTHON), str(_TRIAL), str(_DEMO)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "GGML_NO_BACKTRACE": "1"},
    )
    if trial.returncode != 0:
        shutil.rmtree(wanted.folder, ignore_errors=True)
        raise SetupFailed(
            f"The compiled llama.cpp does not work (exit status {trial.returncode}; a negative"
            f" one is a signal).\n{trial.stdout}{trial.stderr}\n"
            "It was compiled with: " + wanted.cmake_args
        )
    for line in trial.stdout.splitlines():
        say(f"  {line}")


def _pinned_version() -> str:
    found = re.search(r"^llama-cpp-python==(\S+)", CONSTRAINTS.read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise SetupFailed(f"{CONSTRAINTS} does not pin llama-cpp-python")
    return found[1]


def _find(variable: str, *names: str) -> str:
    chosen = os.environ.get(variable)
    for name in [chosen] if chosen else names:
        path = shutil.which(name)
        if path is not None:
            return path
    debian.install("g++", "make", why="No C++ compiler was found", log=LOGS / "compiler.log")
    return _find(variable, *names)


def _is_gcc(compiler: str) -> bool:
    macros = _output([compiler, "-dM", "-E", "-x", "c++", os.devnull])
    return "__GNUC__" in macros and "__clang__" not in macros


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(_CPU_FACTS)}))


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout
