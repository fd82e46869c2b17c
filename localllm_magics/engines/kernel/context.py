"""A llama.cpp context: prefill, decode, and abort in between."""

import ctypes
import sys
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

from localllm_magics.core.errors import GenerationFailed
from localllm_magics.core.ggml_types import TENSOR_TYPES
from localllm_magics.core.memory_plan import CHUNK, PlanSettings
from localllm_magics.core.stop import Stopped
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.llama_model import LlamaModel
from localllm_magics.engines.kernel.load_error import context_error
from localllm_magics.engines.kernel.thread_pool import ThreadPool


def context_params(lib: Library, settings: PlanSettings, threads: int) -> ctypes.Structure:
    """llama.cpp's parameters of a context."""
    api = lib.api
    params: ctypes.Structure = api.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = settings.context, settings.batch, settings.batch
    params.n_outputs_max = 1  # only the last token's logits are read: room for more would be wasted
    # No prefix of a model with a sliding window is reused, so no token outside it is read again.
    params.swa_full = False
    params.n_threads = params.n_threads_batch = threads
    params.type_k = params.type_v = TENSOR_TYPES[settings.kv_type.upper()].id
    if not settings.flash_attention:
        params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.no_perf = True
    return params


def new_context(lib: Library, model: LlamaModel, settings: PlanSettings, threads: int) -> tuple[int, str]:
    """llama.cpp's own context, and what it logged.

    Raises:
        NotEnoughMemory: llama.cpp could not allocate it.
        LoadFailed: llama.cpp refused it for another reason.
    """
    with lib.log.collecting() as logged:
        pointer = lib.api.llama_init_from_model(model.pointer, context_params(lib, settings, threads))
    if not pointer:
        raise context_error(settings, logged)
    return pointer, logged.text


class Context:
    """The state of one conversation with a model; for one thread at a time.

    Prompts are prefilled in chunks that begin at multiples of CHUNK, and only whole chunks are reused for a later one.
    So every token is computed in the same batch shape as in a new context, and gives the same numbers to the last bit.

    Args:
        lib: The build.
        model: The model.
        size: Tokens of context.
        threads: CPU threads.
        kv_type: The type of the KV cache.

    Raises:
        NotEnoughMemory: llama.cpp could not allocate it.
        LoadFailed: llama.cpp refused it for another reason.
    """

    def __init__(self, lib: Library, model: LlamaModel, *, size: int, threads: int, kv_type: str = "f16") -> None:
        self._api = api = lib.api
        self._reusable = model.keeps_all_positions
        self._prefilled: list[int] = []
        self.n_past = 0
        settings = PlanSettings(context=size, kv_type=kv_type, batch=CHUNK)
        self.pointer: Any
        self.pointer, self.log = new_context(lib, model, settings, threads)
        self.size = int(api.llama_n_ctx(self.pointer))
        # llama.cpp takes no batch larger than the context that was asked for, and dies of one.
        self._chunk = min(CHUNK, int(api.llama_n_batch(self.pointer)))
        self._pool = ThreadPool(lib, self.pointer, threads)
        self._memory = api.llama_get_memory(self.pointer)
        self._token = (api.llama_token * 1)()
        self._batch = api.llama_batch_get_one(self._token, 1)
        self._abort_flag = ctypes.create_string_buffer(2)
        # strlen of a flag byte is 0 or 1: a C function, so no decode ever waits for Python's lock.
        strlen = (ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)).strlen
        api.llama_set_abort_callback(self.pointer, ctypes.cast(strlen, api.ggml_abort_callback), self._abort_flag)

    def abort(self) -> None:
        """Stop the decode that runs, from any thread, until `clear_abort`."""
        self._abort_flag[0] = b"\x01"

    def clear_abort(self) -> None:
        """Allow decodes again."""
        self._abort_flag[0] = b"\x00"

    def reuse_prefix(self, tokens: Sequence[int]) -> int:
        """Keep what the KV cache has in common with TOKENS; how many tokens need no prefill."""
        pairs = zip(self._prefilled, tokens[:-1], strict=False)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        common = common // self._chunk * self._chunk if self._reusable else 0
        if not (common and self._api.llama_memory_seq_rm(self._memory, 0, common, -1)):
            common = 0
            self._api.llama_memory_clear(self._memory, False)
        del self._prefilled[common:]
        self.n_past = common
        return common

    def prefill(self, tokens: Sequence[int]) -> Iterator[int]:
        """Decode the prompt TOKENS from `n_past` on, yielding how many are done.

        Raises:
            Stopped: `abort` was called.
        """
        self._pool.start()
        while self.n_past < len(tokens):
            chunk = tokens[self.n_past : self.n_past + self._chunk]
            array = (self._api.llama_token * len(chunk))(*chunk)
            self._decode(self._api.llama_batch_get_one(array, len(chunk)))
            self.n_past += len(chunk)
            if len(chunk) == self._chunk:
                self._prefilled.extend(chunk)
            yield self.n_past

    def decode(self, token: int) -> None:
        """Append TOKEN, which gives the logits of the next.

        Raises:
            Stopped: `abort` was called.
        """
        self._token[0] = token
        self._decode(self._batch)
        self.n_past += 1

    def close(self) -> None:
        """Give the memory back; again is no error."""
        pointer, self.pointer = self.pointer, None
        if pointer:
            self._api.llama_free(pointer)
            self._pool.close()

    def _decode(self, batch: object) -> None:
        result = self._api.llama_decode(self.pointer, batch)
        if result == 2:  # an abort, see llama.h
            raise Stopped
        if result:
            raise GenerationFailed(f"llama.cpp could not decode (code {result}).", "Try a smaller --ctx.")
