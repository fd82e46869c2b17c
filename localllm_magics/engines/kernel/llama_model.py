"""A model file in memory."""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.load_error import load_error
from localllm_magics.engines.kernel.tensor_overrides import tensor_overrides

Progress: TypeAlias = Callable[[float], None]  # takes the loaded part, from 0 to 1


class LlamaModel:
    """A loaded model file.

    Args:
        lib: The build.
        path: A GGUF file that was checked before: llama.cpp can abort the process on a malformed one.
        settings: How its weights are put into memory.
        stop: Ends the load.
        allocate: Else only the header is read, for a plan.

    Raises:
        Stopped: STOP was set.
        UnsupportedArchitecture: This build does not know the architecture.
        NotEnoughMemory: llama.cpp could not allocate its memory.
        LoadFailed: llama.cpp refused the file for another reason.
    """

    def __init__(
        self,
        lib: Library,
        path: Path,
        settings: PlanSettings,
        *,
        stop: Stop,
        progress: Progress = lambda _: None,
        allocate: bool = True,
    ) -> None:
        self._api = api = lib.api
        params = api.llama_model_default_params()
        params.n_gpu_layers = settings.gpu_layers
        params.use_extra_bufts = settings.repack
        # llama.cpp ends the process where nothing is allocated and the file is mapped.
        params.load_mode = api.LLAMA_LOAD_MODE_MMAP if settings.map_file and allocate else api.LLAMA_LOAD_MODE_NONE
        params.no_alloc = not allocate
        overrides, split = tensor_overrides(lib, settings), (ctypes.c_float * int(api.llama_max_devices()))()
        params.tensor_buft_overrides, params.tensor_split = ctypes.addressof(overrides), split
        split[: len(settings.split)] = list(map(float, settings.split))
        self._kept = overrides, split  # llama.cpp keeps pointers to them

        def report(part: float, _: object) -> bool:
            progress(part)
            return not stop.is_set()

        # The callback must outlive the call only; llama.cpp does not keep it.
        params.progress_callback = self._api.llama_progress_callback(report)
        with lib.log.collecting() as logged:
            self.pointer = api.llama_model_load_from_file(os.fsencode(path), params)
        self.log = logged.text
        if not self.pointer:
            stop.check()
            raise load_error(path, settings, logged)

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return int(self._api.llama_model_size(self.pointer))

    @property
    def layers(self) -> int:
        """Repeating layers."""
        return int(self._api.llama_model_n_layer(self.pointer))

    @property
    def experts(self) -> int:
        """Experts in a layer; 0 where it is no mixture of experts."""
        count = self.metadata(f"{self.metadata('general.architecture')}.expert_count") or ""
        return int(count) if count.isdecimal() else 0

    @property
    def trained_context(self) -> int | None:
        """Tokens of context that it was trained with; None where the file has an impossible number."""
        tokens = int(self._api.llama_model_n_ctx_train(self.pointer))
        return tokens if tokens > 0 else None

    @property
    def keeps_all_positions(self) -> bool:
        """Whether the end of a sequence can leave the KV cache and the beginning stay."""
        api, model = self._api, self.pointer
        return not (
            api.llama_model_is_recurrent(model) or api.llama_model_is_hybrid(model) or api.llama_model_n_swa(model)
        )

    @property
    def can_generate(self) -> bool:
        """Whether it continues text from left to right, and has a tokenizer to do so."""
        api, model = self._api, self.pointer
        has_tokenizer = api.llama_vocab_type(api.llama_model_get_vocab(model)) != api.LLAMA_VOCAB_TYPE_NONE
        if self.metadata(f"{self.metadata('general.architecture')}.attention.causal") == "false":
            return False  # an embedding model such as BERT: llama.cpp ends the process where it is to decode
        return bool(has_tokenizer and api.llama_model_has_decoder(model) and not api.llama_model_has_encoder(model))

    @property
    def chat_template(self) -> str | None:
        """The template in the file, or None."""
        source = self._api.llama_model_chat_template(self.pointer, None)
        return None if source is None else source.decode("utf-8", "replace")

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of one token in a KV cache of half precision, as an upper bound."""
        api, model = self._api, self.pointer
        architecture = self.metadata("general.architecture")
        usual = api.llama_model_n_embd(model) // max(1, api.llama_model_n_head(model))
        lengths = (self.metadata(f"{architecture}.attention.{part}_length") or "" for part in ("key", "value"))
        width = sum((int(length) if length.isdecimal() else 0) or usual for length in lengths)
        return int(2 * width * api.llama_model_n_head_kv(model) * self.layers)

    def metadata(self, key: str) -> str | None:
        """A scalar of the header as text, or None."""
        buffer = ctypes.create_string_buffer(4096)
        size = self._api.llama_model_meta_val_str(self.pointer, key.encode(), buffer, len(buffer))
        return None if size < 0 else buffer.value.decode("utf-8", "replace")

    def close(self) -> None:
        """Give the memory back; again is no error."""
        pointer, self.pointer = self.pointer, None
        if pointer:
            self._api.llama_model_free(pointer)
