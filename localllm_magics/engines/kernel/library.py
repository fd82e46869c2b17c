"""The installed build of llama.cpp, imported when it is first needed."""

import ctypes
import functools
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from localllm_magics.core.errors import EngineNotInstalled, SetupError
from localllm_magics.core.fork import new_lock
from localllm_magics.engines.kernel.installing import install_hint, upgrade_hint

OLDEST = (0, 3, 36)  # the first llama-cpp-python whose C API is the one used here
_CPU_TYPE, _GPU_TYPES = 0, (1, 2)  # CPU; GPU and integrated GPU: enum ggml_backend_dev_type in ggml-backend.h
_MOST_SECONDS = 5.0  # for another machine to answer
_OTHER_BACKENDS = ("CPU", "BLAS")
_ERROR = 4  # enum ggml_log_level in ggml.h


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device of the build, such as `CPU`, `CUDA0` or `RPC0`; memory in bytes.

    Args:
        buffers: What llama.cpp's log calls its buffers; where empty, as the device.
    """

    name: str
    description: str
    is_gpu: bool
    free_bytes: int
    total_bytes: int
    buffers: str = ""


class Logged:
    """What was logged in a block."""

    def __init__(self) -> None:
        self._pieces: list[tuple[str, bool]] = []

    def add(self, text: str, *, is_error: bool) -> None:
        """Append TEXT, which need not be a whole line."""
        self._pieces.append((text, is_error))

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(text for text, _ in self._pieces)

    @property
    def errors(self) -> tuple[str, ...]:
        """The lines of errors, the innermost first."""
        return tuple("".join(text for text, is_error in self._pieces if is_error).splitlines())


class Log:
    """llama.cpp's log, which is collected where somebody wants it, and never printed."""

    def __init__(self) -> None:
        self._collectors: tuple[Logged, ...] = ()

    def add(self, text: str, *, is_error: bool = False) -> None:
        """Append TEXT, which need not be a whole line."""
        for collector in self._collectors:
            collector.add(text, is_error=is_error)

    @contextmanager
    def collecting(self) -> Iterator[Logged]:
        """Receives what is logged in the block."""
        logged = Logged()
        self._collectors = (*self._collectors, logged)
        try:
            yield logged
        finally:
            self._collectors = tuple(collector for collector in self._collectors if collector is not logged)


class Library:
    """llama.cpp as llama-cpp-python installed it; use `library()` to get the one there is.

    Args:
        api: The module `llama_cpp.llama_cpp`, with one function for each of llama.h's.
        version: Version of llama-cpp-python.
    """

    def __init__(self, api: ModuleType, version: str) -> None:
        self.api = api
        self.version = version
        self._process = os.getpid()
        self._shared: Any = api._lib  # noqa: SLF001 - there is no public way to it, and it has no type
        self.log = Log()
        # llama.cpp keeps the pointer for the life of the process, so we keep the callback.
        self._log_callback = api.llama_log_callback(self._on_log)
        api.llama_log_set(self._log_callback, ctypes.c_void_p(0))
        api.llama_backend_init()

    def __repr__(self) -> str:
        return f"<Library llama-cpp-python {self.version}, {', '.join(d.name for d in self.devices())}>"

    @property
    def path(self) -> Path:
        """The shared library that is loaded."""
        return Path(self._shared._name)  # noqa: SLF001 - there is no public way to it

    @property
    def supports_gpu(self) -> bool:
        """Whether layers can go to any device but the CPU."""
        # llama_supports_gpu_offload() says yes to every build with RPC, although no server is connected.
        return any(map(self._is_gpu, self._pointers()))

    @property
    def system_info(self) -> str:
        """The instruction sets and features that were compiled in."""
        return str(self.api.llama_print_system_info().decode())

    def devices(self) -> list[Device]:
        """What the build can really use, in llama.cpp's order."""
        return [self._device(pointer) for pointer in self._pointers()]

    def gpu_backends(self) -> list[str]:
        """The kinds of GPU, such as `CUDA`, that the build was made for, whether there is one or not."""
        count = self.function("ggml_backend_reg_count", ctypes.c_size_t)
        get = self.function("ggml_backend_reg_get", ctypes.c_void_p, ctypes.c_size_t)
        names = [self._text("reg_name", get(index)) for index in range(count())]
        return [name for name in names if name not in _OTHER_BACKENDS and not name.startswith("RPC")]

    def function(self, name: str, result: type | None, *arguments: type) -> Callable[..., Any]:
        """A C function of llama.h or ggml.h that llama-cpp-python does not declare.

        Args:
            name: Its name.
            result: The type of its result in ctypes.
            arguments: Those of its arguments.
        """
        # Found through libllama's own handle: opening libggml by path would load a second registry.
        return ctypes.CFUNCTYPE(result, *arguments)((name, self._shared))

    def cpu_function(self, name: str, result: type | None, *arguments: type) -> Callable[..., Any]:
        """A C function of ggml-cpu.h, whose library some builds load as a plugin; see `function`."""
        pointer = ctypes.c_void_p
        cpu = self.function("ggml_backend_dev_by_type", pointer, ctypes.c_int)(_CPU_TYPE)
        plugin = self.function("ggml_backend_dev_backend_reg", pointer, pointer)(cpu)
        find = self.function("ggml_backend_reg_get_proc_address", pointer, pointer, ctypes.c_char_p)
        return ctypes.CFUNCTYPE(result, *arguments)(find(plugin, name.encode()))

    def buffer_type(self, device: str) -> int:
        """The buffer type of the device with this name; the CPU's where there is none.

        Args:
            device: Its name.
        """
        of_device = self.function("ggml_backend_dev_buffer_type", ctypes.c_void_p, ctypes.c_void_p)
        pointers = [pointer for pointer in self._pointers() if self._text("dev_name", pointer) == device]
        found = of_device(pointers[0]) if pointers else self.function("ggml_backend_cpu_buffer_type", ctypes.c_void_p)()
        return int(found)

    def buffer_device(self, buffer_type: int) -> str:
        """The name of the device in whose memory buffers of this type are; empty for the host's memory."""
        is_host = self.function("ggml_backend_buft_is_host", ctypes.c_bool, ctypes.c_void_p)(buffer_type)
        pointer = self.function("ggml_backend_buft_get_device", ctypes.c_void_p, ctypes.c_void_p)(buffer_type)
        return "" if is_host or not pointer or not self._is_gpu(pointer) else self._text("dev_name", pointer)

    def add_rpc_server(self, endpoint: str) -> None:
        """Use the devices of another machine, or process, where `ggml-rpc-server` runs.

        Args:
            endpoint: Its host and port.

        Raises:
            SetupError: Nothing answers there.
        """
        host, _, port = endpoint.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=_MOST_SECONDS).close()
        except OSError as exc:  # llama.cpp would end the process
            raise SetupError(f"No RPC server answers at {endpoint}.", "Start ggml-rpc-server there.") from exc
        pointer, text = ctypes.c_void_p, ctypes.c_char_p
        rpc = self.function("ggml_backend_reg_by_name", pointer, text)(b"RPC")
        find = self.function("ggml_backend_reg_get_proc_address", pointer, pointer, text)
        add = ctypes.CFUNCTYPE(pointer, text)(find(rpc, b"ggml_backend_rpc_add_server"))
        self.function("ggml_backend_register", None, pointer)(add(endpoint.encode()))

    def require_own_process(self) -> None:
        """Raise where a GPU would be used in a forked process: drivers end one that tries.

        Raises:
            SetupError: This process was forked from the one that opened the library.
        """
        if os.getpid() != self._process and self.supports_gpu:
            raise SetupError(
                "This process was forked from one that uses the GPU, and cannot use it.",
                'Start it anew instead: multiprocessing.set_start_method("spawn")',
            )

    def _pointers(self) -> list[int]:
        count = self.function("ggml_backend_dev_count", ctypes.c_size_t)
        get = self.function("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
        return [get(index) for index in range(count())]

    def _is_gpu(self, pointer: int) -> bool:
        return self.function("ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)(pointer) in _GPU_TYPES

    def _text(self, name: str, pointer: int) -> str:
        text = self.function(f"ggml_backend_{name}", ctypes.c_char_p, ctypes.c_void_p)(pointer)
        return str(text.decode("utf-8", "replace"))

    def _device(self, pointer: int) -> Device:
        size = ctypes.POINTER(ctypes.c_size_t)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        memory = self.function("ggml_backend_dev_memory", None, ctypes.c_void_p, size, size)
        memory(pointer, ctypes.byref(free), ctypes.byref(total))
        return Device(
            name=self._text("dev_name", pointer),
            description=self._text("dev_description", pointer),
            is_gpu=self._is_gpu(pointer),
            free_bytes=free.value,
            total_bytes=total.value,
            buffers=self._text(
                "buft_name", self.function("ggml_backend_dev_buffer_type", ctypes.c_void_p, ctypes.c_void_p)(pointer)
            ),
        )

    def _on_log(self, level: int, text: bytes, _user: object) -> None:
        self.log.add(text.decode("utf-8", "replace"), is_error=level == _ERROR)


_lock = new_lock()


def library() -> Library:
    """The installed build.

    Raises:
        EngineNotInstalled: llama-cpp-python is missing or does not load.
        SetupError: See `Library.require_own_process`.
    """
    with _lock:
        lib = open_library(_import_llama_cpp)
    lib.require_own_process()
    return lib


def _import_llama_cpp() -> ModuleType:
    # ggml would start a debugger for a backtrace before it aborts: seconds of noise.
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    import llama_cpp

    return llama_cpp


@functools.cache
def open_library(load: Callable[[], ModuleType]) -> Library:
    """The build that LOAD imports.

    Raises:
        EngineNotInstalled: It is missing, does not load, or is too old.
    """
    try:
        llama_cpp = load()
    except (ImportError, OSError, RuntimeError) as exc:
        if getattr(exc, "name", None) == "llama_cpp":
            message = "llama-cpp-python is not installed; the kernel engine needs it."
        else:
            message = f"llama-cpp-python does not load: {exc}"
        raise EngineNotInstalled(message, install_hint()) from exc
    version = llama_cpp.__version__
    if tuple(map(int, re.findall(r"\d+", version)[:3])) < OLDEST:
        message = f"llama-cpp-python {version} is too old; {'.'.join(map(str, OLDEST))} or later is needed."
        raise EngineNotInstalled(message, upgrade_hint())
    return Library(llama_cpp.llama_cpp, version)
