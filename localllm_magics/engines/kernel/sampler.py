"""The sampler chain of a request, in llama.cpp's order."""

import ctypes

from localllm_magics.core.sampling import Sampling
from localllm_magics.engines.kernel.library import Library

_PENALTY_TOKENS = 64  # how far back the repeat penalty looks, llama.cpp's default


class Sampler:
    """Chooses tokens; a context manager that frees its chain.

    Args:
        lib: The build.
        sampling: All values set, the seed too.
        vocabulary_size: Number of tokens of the model.
    """

    def __init__(self, lib: Library, sampling: Sampling, vocabulary_size: int) -> None:
        self._api = lib.api
        self._chain = self._api.llama_sampler_chain_init(self._api.llama_sampler_chain_default_params())
        for link in self._links(sampling, vocabulary_size):
            self._api.llama_sampler_chain_add(self._chain, link)

    def __enter__(self) -> "Sampler":
        return self

    def __exit__(self, *_: object) -> None:
        self._api.llama_sampler_free(self._chain)

    def sample(self, context: ctypes.c_void_p) -> int:
        """The next token, from the last logits of CONTEXT."""
        return int(self._api.llama_sampler_sample(self._chain, context, -1))

    def _links(self, sampling: Sampling, vocabulary_size: int) -> list[int]:
        api, links, penalty = self._api, [], sampling.repeat_penalty
        if penalty != 1.0:
            links.append(api.llama_sampler_init_penalties(vocabulary_size, _PENALTY_TOKENS, penalty, 0.0, 0.0))
        if sampling.temperature == 0:
            return [*links, api.llama_sampler_init_greedy()]
        return [
            *links,
            api.llama_sampler_init_top_k(sampling.top_k),
            api.llama_sampler_init_top_p(sampling.top_p, 1),
            api.llama_sampler_init_min_p(sampling.min_p, 1),
            api.llama_sampler_init_temp(sampling.temperature),
            api.llama_sampler_init_dist(sampling.seed),
        ]
