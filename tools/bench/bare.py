"""The reference: the shortest honest loop on llama.cpp's C API, with nothing of ours in it."""

import codecs
import ctypes
import time

from llama_cpp import llama_cpp as api

from tools.bench.ask import MIN_P, TEMPERATURE, TOP_K, TOP_P, Ask, Sample, Setup, steps

_PIECE_BYTES = 256


class BareLoop:
    """A model with a context; asks start from an empty memory."""

    def __init__(self, setup: Setup) -> None:
        self._log = api.llama_log_callback(lambda _level, _text, _user: None)
        api.llama_log_set(self._log, ctypes.c_void_p(0))
        api.llama_backend_init()
        model = api.llama_model_load_from_file(str(setup.path).encode(), api.llama_model_default_params())
        params = api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = setup.context, setup.batch, setup.batch
        params.n_threads = params.n_threads_batch = setup.threads
        params.no_perf = True
        context = api.llama_init_from_model(model, params)
        assert model is not None
        assert context is not None
        self._context, self._batch = context, setup.batch
        self._vocabulary = api.llama_model_get_vocab(model)
        self._memory = api.llama_get_memory(context)

    def ask(self, ask: Ask) -> Sample:
        """Answer ASK."""
        called = time.perf_counter()
        api.llama_memory_clear(self._memory, False)
        tokens = self._tokens(ask.prompt)
        started = time.perf_counter()
        self._read(tokens)
        read = time.perf_counter()
        sampler = _sampler(ask.seed)
        text, count, cut_off = self._decode(sampler, ask.max_tokens)
        ended = time.perf_counter()
        api.llama_sampler_free(sampler)
        return Sample(
            text=text,
            tokens=count,
            prompt_tokens=len(tokens),
            prompt_seconds=read - started,
            steps=steps(count, cut_off=cut_off),
            decode_seconds=ended - read,
            wall_seconds=ended - called,
        )

    def _tokens(self, text: str) -> list[int]:
        data = text.encode()
        array = (api.llama_token * (len(data) + 16))()
        count = api.llama_tokenize(self._vocabulary, data, len(data), array, len(array), True, True)
        return list(array[:count])

    def _read(self, tokens: list[int]) -> None:
        for start in range(0, len(tokens), self._batch):
            chunk = tokens[start : start + self._batch]
            array = (api.llama_token * len(chunk))(*chunk)
            assert api.llama_decode(self._context, api.llama_batch_get_one(array, len(chunk))) == 0

    def _decode(self, sampler: object, limit: int) -> tuple[str, int, bool]:
        """The text, its tokens, and whether the limit ended it."""
        context, vocabulary = self._context, self._vocabulary
        utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        token = (api.llama_token * 1)()
        batch = api.llama_batch_get_one(token, 1)
        pieces: list[str] = []
        while True:
            token[0] = chosen = api.llama_sampler_sample(sampler, context, -1)
            if api.llama_vocab_is_eog(vocabulary, chosen):
                return "".join(pieces), len(pieces), False
            size = api.llama_token_to_piece(vocabulary, chosen, buffer, _PIECE_BYTES, 0, False)
            pieces.append(utf8.decode(ctypes.string_at(buffer, size)))
            if len(pieces) == limit:
                return "".join(pieces), limit, True
            api.llama_decode(context, batch)


def _sampler(seed: int) -> object:
    chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
    for link in (
        api.llama_sampler_init_top_k(TOP_K),
        api.llama_sampler_init_top_p(TOP_P, 1),
        api.llama_sampler_init_min_p(MIN_P, 1),
        api.llama_sampler_init_temp(TEMPERATURE),
        api.llama_sampler_init_dist(seed),
    ):
        api.llama_sampler_chain_add(chain, link)
    return chain
