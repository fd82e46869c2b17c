"""A model in memory: weights, context, tokenizer and template together."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from localllm_magics.core.errors import BadOption, LoadFailed, ModelError, PromptTooLong
from localllm_magics.core.fork import new_lock
from localllm_magics.core.memory_plan import HOST, PlanSettings
from localllm_magics.core.messages import Message
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.sampling import LLAMA_CPP_SAMPLING
from localllm_magics.core.sanitizer.control import to_printable
from localllm_magics.core.stop import Stop, poll
from localllm_magics.engines.kernel.answer_marks import AnswerMarks, find_marks
from localllm_magics.engines.kernel.auto_placement import llama_places
from localllm_magics.engines.kernel.context import Context
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.llama_model import LlamaModel, Progress
from localllm_magics.engines.kernel.machine import logical_cpus, return_freed_memory, usual_threads
from localllm_magics.engines.kernel.machine_memory import free_memory, machine_memory
from localllm_magics.engines.kernel.placement import (
    context_notice,
    experts_notice,
    kv_type_notice,
    memory_notice,
    offload_notice,
    placement,
    threads_notice,
)
from localllm_magics.engines.kernel.plan import USUAL_TRAINED_CONTEXT, context_size, load_settings, plans_of
from localllm_magics.engines.kernel.prompt import Prompt, prompt_tokens
from localllm_magics.engines.kernel.template import ChatTemplate, Rendered
from localllm_magics.engines.kernel.tokenizer import Tokenizer
from localllm_magics.engines.kernel.worker.build_probe import NOTICE

_PART = 1 << 16  # characters of a prompt whose tokens are counted at a time
_NO_TRAINED_CONTEXT = (
    "The file does not say how many tokens of context the model was trained with, so "
    f"{USUAL_TRAINED_CONTEXT:,} are assumed; --ctx sets another number."
)
_MAPPED = (
    "The weights do not fit into the free memory, so they are read from the file while it answers, which can be slow; "
    "the file must not be overwritten meanwhile."
)
_loading = new_lock()


class LoadedModel:
    """Everything that exists while a model is in memory.

    Args:
        lib: The build.
        info: The file, checked before.
        options: How to load it; None means that we choose.
        repack: Whether the build passed its probe with repacked weights.
        stop: Ends the load.

    Raises:
        LocalLLMError: It cannot be loaded; nothing stays in memory.
        Stopped: STOP was set.
    """

    def __init__(
        self, lib: Library, info: ModelInfo, options: LoadOptions, *, repack: bool, progress: Progress, stop: Stop
    ) -> None:
        if info.path is None:
            raise LoadFailed(f"{info.reference} has no file.", "Type: %llm models")
        with ExitStack() as undo:
            with _one_at_a_time(stop):
                machine = machine_memory(lib)
                place = partial(llama_places, lib, info, machine, stop=stop)
                settings = load_settings(info, options, machine, repack=repack, place=place)
                self.model = _read_model(lib, info, info.path, settings, progress=progress, stop=stop)
                undo.callback(self.model.close)
                self._trained_context = self.model.trained_context or USUAL_TRAINED_CONTEXT
                self.context = self._new_context(lib, info, options, settings)
                undo.callback(self.context.close)
            self.tokenizer = tokenizer = Tokenizer(lib, self.model.pointer)
            self.sampling = info.defaults.sampling.or_else(LLAMA_CPP_SAMPLING)
            self.placement = placement(self.model.log + self.context.log, lib.devices())
            self.settings = settings = replace(settings, context=self.context.size)
            self._plan = plans_of(info, machine)(settings)
            self.planned_bytes = self._plan.needed if info.shape else 0
            self._info = info
            self.notices = self._notices(lib, options, settings, repack=repack)
            self._mapped = {part.path: _stat(part.path) for part in info.files} if settings.map_file else {}
            notice = info.defaults.template_notice
            self._template = ChatTemplate(self.model.chat_template, bos=tokenizer.bos, eos=tokenizer.eos, notice=notice)
            self._marks: AnswerMarks | None = None
            undo.pop_all()  # it is whole

    def prompt(self, request: Request, stop: Stop) -> Prompt:
        """The exact text and tokens for REQUEST.

        Raises:
            PromptTooLong: There is no room for an answer.
            BadTemplate: The chat template failed, or left out a message.
            LoadFailed: The file was truncated, and to read it would end the process.
            Stopped: STOP was set.
        """
        self._require_whole_files()
        request = self._with_system(request)
        if request.raw:
            rendered = Rendered(text=request.messages[-1].text)
        else:
            rendered = self._template.render(request.messages, think=request.think, stop=stop)
        self._refuse_far_too_long(rendered.text, stop)
        tokens = prompt_tokens(self.tokenizer, rendered.text, rendered.spans)
        if not tokens:
            raise BadOption("The prompt is empty.", "Write it below the line with %%llm.")
        self._check_length(len(tokens))
        return Prompt(
            text=rendered.text,
            generation_prompt=rendered.text[max((end for _, end in rendered.spans), default=0) :],
            tokens=tokens,
            notices=rendered.notices,
        )

    def marks(self, stop: Stop) -> AnswerMarks:
        """What its chat template says about its answers.

        Raises:
            Stopped: STOP was set.
        """
        if self._marks is None:
            source = self.model.chat_template or ""
            self._marks = find_marks(source, lambda talk: self._template.render(talk, stop=stop).text, self.tokenizer)
        return self._marks

    @property
    def returned_bytes(self) -> Mapping[str, int]:
        """Bytes that `close` gives back, by the name of the memory; mapped weights hold none of the host's."""
        devices = dict(self.placement.device_bytes)
        mapped = self._plan.uses[0].weights if self.settings.map_file else 0
        return {HOST: max(0, self.placement.memory_bytes - sum(devices.values()) - mapped), **devices}

    def close(self) -> None:
        """Give the memory back; again is no error."""
        self.context.close()
        self.model.close()
        return_freed_memory()

    def _new_context(self, lib: Library, info: ModelInfo, options: LoadOptions, settings: PlanSettings) -> Context:
        model, size = self.model, settings.context
        if not model.can_generate:
            raise LoadFailed("This model cannot write text.", "Choose a chat model: %llm models")
        if info.shape is None:
            size = context_size(options.ctx, size, model.kv_bytes_per_token, free_memory())
        threads = min(options.threads or usual_threads(model.size_bytes), logical_cpus())
        return Context(lib, model, size=size, threads=threads, kv_type=settings.kv_type)

    def _notices(self, lib: Library, options: LoadOptions, settings: PlanSettings, *, repack: bool) -> tuple[str, ...]:
        model, layers = self.model, self.placement.gpu_layers
        notices = [
            "" if repack else NOTICE,
            _MAPPED if settings.map_file and layers <= model.layers else "",
            offload_notice(options.gpu_layers, settings.gpu_layers, layers, lib.devices(), lib.gpu_backends()),
            experts_notice(self._info.reference, settings, model.experts, layers),
            kv_type_notice(options, self.placement.kv_types),
            memory_notice(self.planned_bytes, self.placement.memory_bytes),
            threads_notice(options.threads, logical_cpus()),
            context_notice(options.ctx, self._trained_context, self.context.size),
            "" if model.trained_context else _NO_TRAINED_CONTEXT,
        ]
        return tuple(filter(None, notices))

    def _with_system(self, request: Request) -> Request:
        """REQUEST with the model's own system prompt, where it has none."""
        system = self._info.defaults.system
        has_one = any(message.role == "system" for message in request.messages[:1])
        if system is None or request.raw or has_one:
            return request
        return replace(request, messages=(Message.from_text("system", system), *request.messages))

    def _require_whole_files(self) -> None:
        """Refuse to read a mapped file that was truncated; one that was removed or replaced stays mapped as it was."""
        hint = f"Type: %llm load {self._info.reference}"
        for path, before in self._mapped.items():
            now = _stat(path)
            if before and now and os.path.samestat(before, now) and now.st_size < before.st_size:
                raise LoadFailed(f"{to_printable(path.name)} was overwritten while in use.", hint)

    def _refuse_far_too_long(self, text: str, stop: Stop) -> None:
        """Refuse TEXT before all of it is tokenized, which can take many seconds and cannot be stopped."""
        tokens = 0
        for end in range(_PART, len(text), _PART):
            stop.check()
            # Where a part ends, no more tokens change than those around it.
            tokens += len(self.tokenizer.tokenize(text[end - _PART : end], add_special=False, parse_special=True))
            if tokens > 2 * self.context.size:
                self._check_length(tokens * len(text) // end, about="about ")

    def _check_length(self, tokens: int, about: str = "") -> None:
        size, trained = self.context.size, self._trained_context
        if tokens < size:
            return
        over = tokens - size + 1
        wider = f"Try --ctx {min(trained, tokens + 512)}, or s" if trained > tokens else "S"
        raise PromptTooLong(
            f"The prompt has {about}{tokens:,} tokens, and the context of {self._info.name} holds {size:,}.",
            f"{wider}horten the prompt by {about or 'at least '}{over:,} token{'s' * (over > 1)}.",
        )


def _read_model(
    lib: Library, info: ModelInfo, path: Path, settings: PlanSettings, *, progress: Progress, stop: Stop
) -> LlamaModel:
    """The weights at PATH; where llama.cpp refuses them, with what the model of INFO says can be done."""
    try:
        return LlamaModel(lib, path, settings, progress=progress, stop=stop)
    except ModelError as exc:
        if not info.defaults.load_hint:
            raise
        raise type(exc)(exc.message.replace(path.name, info.reference), info.defaults.load_hint) from exc


def _stat(path: Path) -> os.stat_result | None:
    with suppress(OSError):
        return path.stat()
    return None


@contextmanager
def _one_at_a_time(stop: Stop) -> Iterator[None]:
    """Wait for other loads: llama.cpp's log has no names in it, so only this keeps the lines of two loads apart."""
    for _ in poll(lambda seconds: _loading.acquire(timeout=seconds), stop):
        pass
    try:
        yield
    finally:
        _loading.release()
