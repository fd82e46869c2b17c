"""What the installed build of llama.cpp can use, as its files tell: to import it takes a fifth of a second."""

import sys
from importlib.util import find_spec
from pathlib import Path

_WITHOUT_DEVICES = ("base", "cpu", "rpc", "blas")


def may_have_devices() -> bool:
    """Whether the build must be imported to know its devices: it is already, or has a backend for some."""
    if "llama_cpp" in sys.modules:
        return True
    spec = find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        return False
    return has_devices(Path(spec.origin).parent / "lib")


def has_devices(folder: Path) -> bool:
    """Whether the libraries in FOLDER are more than those for the CPU, or do not tell."""
    names = [path.name.partition("ggml-")[2] for path in folder.glob("*ggml-*")]
    return not names or not all(name.startswith(_WITHOUT_DEVICES) for name in names)
