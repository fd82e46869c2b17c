"""llama.cpp's programs for the tests and benchmarks: llama-server, llama-bench, ggml-rpc-server.

They are compiled from the same source, with the same recipe, as the llama-cpp-python wheel.
"""

import shutil
import tarfile
import tempfile
from pathlib import Path

from tools.setup.environment import LOGS, PYTHON, VENV
from tools.setup.llama import Progress, Recipe, jobs
from tools.setup.terminal import SetupFailed, run, say

PROGRAMS = ("llama-server", "llama-bench", "ggml-rpc-server")
_FLAGS = [
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_TOOLS=ON",
    "-DLLAMA_BUILD_SERVER=ON",
    # Left on, the build would fetch its web pages.
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
    # Given, so that the build does not ask git, which is not in the source.
    "-DLLAMA_BUILD_NUMBER=0",
    "-DLLAMA_BUILD_COMMIT=unknown",
]


def install(wanted: Recipe) -> None:
    """Have the programs in `.venv/bin`, compiled first if the cache has none for this machine."""
    folder = wanted.cache("servers", "llama.cpp")
    if not all((folder / name).exists() for name in PROGRAMS):
        _build(wanted, folder)
    for name in PROGRAMS:
        # A copy, so that cleaning the cache leaves the environment whole.
        shutil.copy2(folder / name, VENV / "bin" / name)


def _build(wanted: Recipe, folder: Path) -> None:
    say(f"compiling {', '.join(PROGRAMS)} for the tests, {jobs()} files at a time")
    say("this takes about 9 minutes on 2 cores, once; later set-ups take them from")
    say(f"{folder}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        build = Path(scratch) / "build"
        source = _source(wanted.version, Path(scratch))
        cmake, ninja = str(VENV / "bin" / "cmake"), str(VENV / "bin" / "ninja")
        configure = [cmake, "-S", str(source), "-B", str(build), "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
        env = {"CC": wanted.c_compiler, "CXX": wanted.cxx_compiler}
        run([*configure, *_FLAGS, *wanted.cmake_args.split()], log=LOGS / "servers-configure.log", env=env)
        compile_ = [cmake, "--build", str(build), "--parallel", str(jobs()), "--target", *PROGRAMS]
        run(compile_, log=LOGS / "servers-build.log", watch=Progress())
        made = Path(scratch) / "made"
        made.mkdir()
        for name in PROGRAMS:
            shutil.copy2(build / "bin" / name, made / name)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)


def _source(version: str, folder: Path) -> Path:
    """The source of llama.cpp, out of llama-cpp-python's source distribution."""
    name = "llama-cpp-python"
    command = [str(PYTHON), "-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--dest", str(folder)]
    run([*command, "--no-binary", name, f"{name}=={version}"], log=LOGS / "llama-source.log")
    archive = next(folder.glob("*.tar.gz"), None)
    if archive is None:
        raise SetupFailed(f"pip brought no source distribution of llama-cpp-python {version}")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return next(folder.glob("llama_cpp_python-*/vendor/llama.cpp"))
