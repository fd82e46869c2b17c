"""A model file in memory."""

import ctypes
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from localllm_magics.core.errors import LoadFailed, LocalLLMError, UnsupportedArchitecture
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.kernel.installing import upgrade_hint
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.plan import WeightsPlan

_REASON = re.compile(r"^(?:gguf_\w+|\w+: error loading model): (?:\w+_\w+: )?(.+)$", re.MULTILINE)
_SAYS_NOTHING = ("failed to load model", "failed to read")
_NEWER = re.compile(r"invalid ggml type|unknown (pre-)?tokenizer|wrong number of tensors|unsupported|bad GGUF version")
"""What the build does not know may be newer than it."""
_LONGEST_REASON = 200

Progress: TypeAlias = Callable[[float], None]  # takes the loaded part, from 0 to 1


class LlamaModel:
    """A loaded model file.

    Args:
        lib: The build.
        path: A GGUF file that was checked before: llama.cpp can abort the process on a malformed one.
        plan: How its weights are put into memory.
        stop: Ends the load.

    Raises:
        Stopped: STOP was set.
        UnsupportedArchitecture: This build does not know the architecture.
        LoadFailed: llama.cpp refused the file for another reason.
    """

    def __init__(
        self, lib: Library, path: Path, plan: WeightsPlan, *, stop: Stop, progress: Progress = lambda _: None
    ) -> None:
        self._api = lib.api
        params = self._api.llama_model_default_params()
        params.n_gpu_layers = plan.gpu_layers
        params.use_extra_bufts = plan.repack
        params.load_mode = self._api.LLAMA_LOAD_MODE_MMAP if plan.map_file else self._api.LLAMA_LOAD_MODE_NONE

        def report(part: float, _: object) -> bool:
            progress(part)
            return not stop.is_set()

        # The callback must outlive the call only; llama.cpp does not keep it.
        params.progress_callback = self._api.llama_progress_callback(report)
        with lib.log.collecting() as pieces:
            self.pointer = self._api.llama_model_load_from_file(os.fsencode(path), params)
            self.log = "".join(pieces)
        if not self.pointer:
            if stop.is_set():
                raise Stopped
            raise _load_error(path, self.log)

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return int(self._api.llama_model_size(self.pointer))

    @property
    def layers(self) -> int:
        """Repeating layers."""
        return int(self._api.llama_model_n_layer(self.pointer))

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


def _load_error(path: Path, log: str) -> LocalLLMError:
    unknown = re.search(r"unknown model architecture: '([^']*)'", log)
    if unknown:
        return UnsupportedArchitecture(
            f"This build of llama.cpp does not know the architecture {unknown[1]!r} of {path.name}.", upgrade_hint()
        )
    # The last line that says more than that something failed; those of the header come before the model's.
    reasons = [reason for reason in _REASON.findall(log) if not reason.startswith(_SAYS_NOTHING)]
    text = " ".join(reasons[-1].split()) if reasons else "no reason given"
    reason = "".join(character for character in text if character.isprintable())[:_LONGEST_REASON].rstrip(".")
    hint = upgrade_hint() if _NEWER.search(reason) else "Try another file of the model."
    return LoadFailed(f"llama.cpp refused {path.name}: {reason}.", hint)
