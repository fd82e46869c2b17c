"""The commands that install llama-cpp-python on this machine: ready-made where somebody has built it, else compiled.

Ready-made builds are for every CPU of their kind, so they use neither AVX-512 nor AMX, and those for CUDA not even AVX2
for what stays on the CPU.
"""

import platform
import re
import shutil
import subprocess
from contextlib import suppress

from localllm_magics.engines.kernel.machine import cpu_name

_INDEX = "https://abetlen.github.io/llama-cpp-python/whl"
_CUDA_BUILDS = (
    118,
    121,
    122,
    123,
    124,
    125,
    130,
    132,
)  # 118 is CUDA 11.8; one runs on a driver of its version or later
_USUAL_CUDA = "cu124"
_CUDA_VERSION = re.compile(r"CUDA Version: (\d+)\.(\d)")
_NAME = "llama-cpp-python"
_AGAIN = "--force-reinstall --no-deps "
_AMX_FLAGS = "-DCMAKE_C_FLAGS=-fno-dse -DCMAKE_CXX_FLAGS=-fno-dse"  # what an older gcc compiles without it crashes


def install_hint() -> str:
    """How to install llama-cpp-python."""
    return "Type: " + _choice("", '"localllm-magics[llama]"')


def upgrade_hint() -> str:
    """How to get a newer one, which knows more models."""
    return f"Type: {_choice('--upgrade ')} Then restart the kernel."


def rebuild_hint() -> str:
    """How to get another build for the GPU of this machine, or for one to come."""
    where = "" if _gpu_flag() else "With an NVIDIA GPU, type"
    return f"{where or 'Type'}: {_choice(_AGAIN, gpu='-DGGML_CUDA=ON')}"


def rebuild_command() -> str:
    """What compiles llama-cpp-python anew for what this machine has."""
    return _compile(_AGAIN, _NAME)


def _choice(options: str, package: str = _NAME, gpu: str = "") -> str:
    """The commands for a ready-made build and for one that is compiled here; GPU is the flag where no GPU is found."""
    flag = _gpu_flag() or gpu
    compiled = f"`{_compile(options, package, flag)}` (compiles for some minutes; needs a C++ compiler)."
    build = _ready_made(flag)
    if build is None:
        return compiled
    slower = "AVX2, AVX-512 and AMX" if build.startswith("cu") else "AVX-512 and AMX"
    without = "" if build == "metal" else f"; uses no {slower} on the CPU"
    ready = f"pip install {options}--prefer-binary {package} --extra-index-url {_INDEX}/{build}"
    return f"`{ready}` (ready-made{without}). Or the fastest for this machine: {compiled}"


def _compile(options: str, package: str, gpu: str | None = None) -> str:
    """The command with all that this machine needs: whoever types one hint after another must not undo the first."""
    flags = " ".join(filter(None, (gpu or _gpu_flag(), _AMX_FLAGS if "amx_tile" in cpu_name() else "")))
    # pip keeps what it has compiled, and does not look at the flags when it takes that again.
    anew = f"--no-cache-dir --no-binary {_NAME} " if options == _AGAIN else ""
    command = f"pip install {options}{anew}{package}"
    return f'CMAKE_ARGS="{flags}" {command}' if flags else command


def _gpu_flag() -> str:
    if _is_apple():
        return "-DGGML_METAL=ON"
    if shutil.which("nvidia-smi"):
        return "-DGGML_CUDA=ON"
    if shutil.which("rocminfo"):
        return "-DGGML_HIP=ON"
    return "-DGGML_VULKAN=ON" if shutil.which("vulkaninfo") else ""


def _ready_made(flag: str) -> str | None:
    """The name of the ready-made build with what the compiler's FLAG is for; None where nobody has made one."""
    if flag == "-DGGML_METAL=ON":
        return "metal"
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return None
    if flag == "-DGGML_CUDA=ON":
        return _cuda_build()
    return {"-DGGML_HIP=ON": "rocm72", "-DGGML_VULKAN=ON": "vulkan"}.get(flag, "cpu")


def _is_apple() -> bool:
    return platform.system() == "Darwin" and platform.machine() == "arm64"


def _cuda_build() -> str | None:
    """The newest build that the NVIDIA driver can run; it names the latest version of CUDA that it knows."""
    said = b""
    with suppress(OSError, subprocess.SubprocessError):  # there is no driver, or it hangs
        said = subprocess.run(["nvidia-smi"], capture_output=True, timeout=5, check=False).stdout
    found = _CUDA_VERSION.search(said.decode("utf-8", "replace"))
    if found is None:
        return _USUAL_CUDA
    return next((f"cu{build}" for build in reversed(_CUDA_BUILDS) if build <= int(found[1] + found[2])), None)
