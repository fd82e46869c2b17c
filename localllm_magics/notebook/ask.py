"""The boundary: from a question to a card that ends, whatever happens."""

import contextvars
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.core.completion import Completion, ModelUsed
from localllm_magics.core.errors import InternalError, LocalLLMError
from localllm_magics.core.generation import Generation
from localllm_magics.core.messages import Message
from localllm_magics.core.request import Request
from localllm_magics.engines.base import Preview
from localllm_magics.engines.stream import Stream
from localllm_magics.notebook.card.card import Card
from localllm_magics.notebook.card.surface import Surface
from localllm_magics.notebook.interrupts import shorten, uninterrupted
from localllm_magics.notebook.prompt.interpolate import interpolate
from localllm_magics.notebook.question import Question
from localllm_magics.session import Session, Use

_CODE_BLOCK = re.compile(r"^(`{3,}|~{3,})[^\n]*\n(.*?)^\1", re.MULTILINE | re.DOTALL)


@dataclass(slots=True)
class _Asking:
    """A question that is being answered, and what has to be ended with it."""

    question: Question
    generation: Generation
    card: Card
    use: Use | None = None
    stream: Stream | None = None
    error: LocalLLMError | None = None


class Asker:
    """Asks the session's models on behalf of one shell.

    Args:
        shell: Where variables are looked up and bound.
        session: What is loaded.
    """

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        self._shell = shell
        self._session = session

    def ask(self, question: Question, surface: Surface, default_model: str) -> Completion | None:
        """Show the answer on SURFACE; None while it is generated in the background.

        Raises:
            LocalLLMError: It failed, and the question does not forbid to raise.
            KeyboardInterrupt: It was interrupted; the text so far is kept.
        """
        generation = Generation(question.request, self._model_used(question.model, default_model))
        card = Card(surface, generation, shows_error=question.in_background or not question.raises)
        asking = _Asking(question, generation, card)
        try:
            card.open()
            stream = self._start(asking, default_model)
            if question.in_background:
                self._follow_in_background(asking, stream)
                return None
            card.follow(stream)
        except Exception as exc:  # noqa: BLE001 - the boundary: whatever happens, the card ends with an error
            asking.error = _to_error(exc)
        except BaseException as exc:  # SystemExit and its like are the user's, but the card must not wait for ever
            self._end(asking)
            if isinstance(exc, KeyboardInterrupt):
                shorten(exc, "stopped. The text so far is in _llm.")
            raise
        completion = self._end(asking)
        if asking.error is not None and question.raises:
            raise asking.error from asking.error.__cause__
        if question.wants_code and asking.error is None:
            self._insert_code(completion.text)
        return completion

    def preview(self, question: Question, default_model: str) -> Preview:
        """The exact prompt of QUESTION; generates nothing."""
        request = self._interpolated(question)
        use = self._session.use(question.model, question.load, default_model)
        try:
            return use.model.preview(request)
        finally:
            use.undo()

    def refuse(self, error: LocalLLMError, surface: Surface, default_model: str) -> None:
        """Show ERROR, for which nothing is asked, as a card that has failed."""
        generation = Generation(Request(messages=()), self._model_used(None, default_model))
        completion = Card(surface, generation, shows_error=True).end("error", error)
        self._bind(completion)

    def _model_used(self, reference: str | None, default_model: str) -> ModelUsed:
        """What is known of the model before it is resolved."""
        current = self._session.current
        return ModelUsed(reference=reference or (current.info.reference if current else default_model))

    def _start(self, asking: _Asking, default_model: str) -> Stream:
        question, generation = asking.question, asking.generation
        generation.request = self._interpolated(question)
        asking.use = self._session.use(question.model, question.load, default_model)
        generation.notices.extend(asking.use.notices)
        with uninterrupted():  # an interrupt must not lose a stream that runs
            asking.stream = asking.use.model.start(generation)
        return asking.stream

    def _follow_in_background(self, asking: _Asking, stream: Stream) -> None:
        def follow() -> None:
            try:
                asking.card.follow(stream)
            except Exception as exc:  # noqa: BLE001 - the same boundary, in a thread
                asking.error = _to_error(exc)
            self._end(asking)

        # The context tells ipykernel which cell the thread's output belongs to.
        run: Callable[[Callable[[], None]], None] = contextvars.copy_context().run
        threading.Thread(target=run, args=(follow,), name=f"localllm-card-{asking.generation.id}", daemon=True).start()

    def _end(self, asking: _Asking) -> Completion:
        """End all that ASKING has begun; an error of the generation becomes its error."""
        card, stream = asking.card, asking.stream
        if stream is not None:
            stream.close()
        asking.error = asking.error or asking.generation.error
        completion = card.completion or card.end("error" if asking.error else "stopped", asking.error)
        if asking.use is not None:
            _end_use(asking.use, completion)
        self._bind(completion, asking.question.out)
        return completion

    def _interpolated(self, question: Question) -> Request:
        """The request with its expressions evaluated, each once."""
        if not question.has_vars:
            return question.request
        messages = tuple(
            Message.from_text(message.role, interpolate(message.text, self._evaluate))
            for message in question.request.messages
        )
        return replace(question.request, messages=messages)

    def _evaluate(self, expression: str) -> object:
        code = compile(expression, "<prompt>", "eval")
        return eval(code, self._shell.user_global_ns, self._shell.user_ns)  # noqa: S307 - the user's own expression

    def _bind(self, completion: Completion, out: str | None = None) -> None:
        """Store COMPLETION as the last one, and in the variable OUT."""
        self._session.record(completion)
        self._shell.push({"_llm": completion}, interactive=False)
        if out is not None:
            self._shell.push({out: completion})

    def _insert_code(self, text: str) -> None:
        found = _CODE_BLOCK.search(text)
        if found is None:
            print("The answer has no code block, so no cell was made.")  # noqa: T201 - the cell's output
            return
        self._shell.set_next_input(found[2].rstrip("\n"))


def _end_use(use: Use, completion: Completion) -> None:
    """Keep USE if its model has answered."""
    if completion.finish_reason in ("stop", "length") or completion.stats.completion_tokens:
        use.keep()
    else:
        use.undo()


def _to_error(exc: Exception) -> LocalLLMError:
    if isinstance(exc, LocalLLMError):
        return exc
    error = InternalError(f"{type(exc).__name__}: {exc}", "Please report this, with the output of %llm doctor.")
    error.__cause__ = exc
    return error
