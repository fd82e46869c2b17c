"""The peer that most people use: llama-cpp-python's `Llama.create_completion(stream=True)`."""

import time

from llama_cpp import Llama

from tools.bench.ask import MIN_P, TEMPERATURE, TOP_K, TOP_P, Ask, Sample, Setup, steps


class HighLevel:
    """A `Llama` with its own defaults, but our context, threads and sampling."""

    def __init__(self, setup: Setup) -> None:
        self._llama = Llama(
            str(setup.path),
            n_ctx=setup.context,
            n_threads=setup.threads,
            n_threads_batch=setup.threads,
            verbose=False,
        )

    def ask(self, ask: Ask) -> Sample:
        """Answer ASK; it times nothing, so decoding is from the first piece of text to the last."""
        called = time.perf_counter()
        pieces, times, finish = [], [], ""
        for part in self._llama.create_completion(
            ask.prompt,
            max_tokens=ask.max_tokens,
            temperature=TEMPERATURE,
            top_k=TOP_K,
            top_p=TOP_P,
            min_p=MIN_P,
            repeat_penalty=1.0,
            seed=ask.seed,
            stream=True,
        ):
            assert not isinstance(part, str)
            choice = part["choices"][0]
            if choice["text"]:
                pieces.append(choice["text"])
                times.append(time.perf_counter())
            finish = choice["finish_reason"] or finish
        ended = time.perf_counter()
        prompt_tokens = len(self._llama.tokenize(ask.prompt.encode(), add_bos=False, special=True))
        cut_off = finish == "length"
        count = self._llama.n_tokens - prompt_tokens + cut_off
        return Sample(
            text="".join(pieces),
            tokens=count,
            prompt_tokens=prompt_tokens,
            prompt_seconds=times[0] - called,
            steps=steps(count, cut_off=True),
            decode_seconds=times[-1] - times[0],
            wall_seconds=ended - called,
        )
