"""A model's tokenizer: text to tokens and back."""

import ctypes
import threading
from concurrent.futures import wait as wait_for

from localllm_magics.core.errors import NotEnoughMemory
from localllm_magics.core.fork import new_lock
from localllm_magics.engines.background import in_background
from localllm_magics.engines.kernel.library import Library

# Some tokenizers use std::regex, which recurses with each character of a word: 335 bytes with gcc. A word of 25,000
# characters, an image in base64 perhaps, would end the process in a thread's usual stack.
_STACK_PER_CHARACTER = 1024
_stack_size = new_lock()


class Tokenizer:
    """Tokens of a loaded model, through llama.cpp's own tokenizer.

    Args:
        lib: The build.
        model: Its `llama_model *`.
    """

    def __init__(self, lib: Library, model: int) -> None:
        self._api = lib.api
        self.pointer = self._api.llama_model_get_vocab(model)
        self.size: int = self._api.llama_vocab_n_tokens(self.pointer)
        self._buffer = ctypes.create_string_buffer(256)

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """TEXT as token ids.

        Args:
            text: Any text; lone surrogates become question marks.
            add_special: Add the tokens that the model wants at the beginning.
            parse_special: Read special tokens in the text as such.
        """
        if len(text) <= 300:
            return self._tokenize(text, add_special, parse_special)
        stack = (1 << 20) + len(text) * _STACK_PER_CHARACTER
        with _stack_size:  # of all threads that start now, of which another one may be somebody else's
            usual = threading.stack_size(stack)
            try:
                future = in_background(lambda: self._tokenize(text, add_special, parse_special), "localllm-tokenize")
            except RuntimeError as exc:
                raise NotEnoughMemory(
                    f"To tokenize a text of {len(text):,} characters takes a stack of {stack / 1e9:.1f} GB.",
                    "Shorten the prompt.",
                ) from exc
            finally:
                threading.stack_size(usual)
        try:
            return future.result()
        finally:
            wait_for([future])  # or else an interrupt here could free the model that is in use there

    def _tokenize(self, text: str, add_special: bool, parse_special: bool) -> list[int]:
        data = text.encode("utf-8", "replace")
        size = len(data) // 2 + 16  # more than most texts need
        while True:
            array = (self._api.llama_token * size)()
            count = self._api.llama_tokenize(self.pointer, data, len(data), array, size, add_special, parse_special)
            if count >= 0:
                return list(array[:count])
            size = -count

    def token_to_piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes of TOKEN; those of special tokens only if SPECIAL."""
        size = self._api.llama_token_to_piece(self.pointer, token, self._buffer, len(self._buffer), 0, special)
        if size < 0:
            self._buffer = ctypes.create_string_buffer(-size)
            size = self._api.llama_token_to_piece(self.pointer, token, self._buffer, -size, 0, special)
        return self._buffer.raw[:size]

    def is_eog(self, token: int) -> bool:
        """Whether TOKEN ends the generation."""
        return bool(self._api.llama_vocab_is_eog(self.pointer, token))

    @property
    def beginning(self) -> list[int]:
        """The beginning-of-sequence token where the model wants a prompt to begin with it, else nothing."""
        wants_it = self._api.llama_vocab_get_add_bos(self.pointer)
        return [self._api.llama_vocab_bos(self.pointer)] if wants_it else []

    @property
    def bos(self) -> str:
        """The beginning-of-sequence token as text, empty if there is none."""
        return self.to_text(self._api.llama_vocab_bos(self.pointer))

    @property
    def eos(self) -> str:
        """The end-of-sequence token as text, empty if there is none."""
        return self.to_text(self._api.llama_vocab_eos(self.pointer))

    def to_text(self, token: int) -> str:
        """TOKEN as text, a special one too, empty if there is none."""
        return "" if token < 0 else self.token_to_piece(token, special=True).decode("utf-8", "replace")
