"""One question: from the words of a magic to a card and its completion."""

import contextvars
import re
import threading
from collections.abc import Callable
from dataclasses import replace

from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.core.completion import Completion, ModelUsed
from localllm_magics.core.errors import InternalError, LocalLLMError
from localllm_magics.core.preview import Preview
from localllm_magics.core.request import Message, Request, to_messages
from localllm_magics.engines.stream import Stream
from localllm_magics.model import Model
from localllm_magics.notebook.card.card import Card
from localllm_magics.notebook.card.surface import Surface
from localllm_magics.notebook.interrupts import uninterrupted
from localllm_magics.notebook.prompt.interpolate import interpolate
from localllm_magics.notebook.question import Question
from localllm_magics.session import Session, changed_options

_CODE_BLOCK = re.compile(r"^(`{3,}|~{3,})[^\n]*\n(.*?)^\1", re.MULTILINE | re.DOTALL)


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
        """Show the answer on SURFACE; None while it is still being made in the background.

        Raises:
            LocalLLMError: It failed, and the question does not forbid to raise.
            KeyboardInterrupt: Somebody interrupted; the text so far is kept.
        """
        model: list[Model] = []
        reference = question.model or self._current_reference() or default_model
        card = Card(
            surface,
            question.request,
            lambda: model[0].engine.used if model else ModelUsed(reference=reference),
            shows_error=question.in_background or not question.raises,
        )
        try:
            card.open()
            stream = self._start(question, model, default_model)
            if question.in_background:
                self._in_background(card, stream, question, model[0])
                return None
            self._follow(card, stream, model[0])
        except KeyboardInterrupt as exc:
            self._abandon(question.request.id)
            self._keep(card.completion or card.interrupt(), question)
            raise shortened(exc, "stopped. The text so far is in _llm.") from None
        except LocalLLMError as exc:
            return self._failed(card.fail(exc), exc, question)
        except Exception as exc:  # noqa: BLE001 - the boundary: whatever happens, the card ends and the user is told
            error = _unforeseen(exc)
            return self._failed(card.fail(error), error, question)
        except BaseException:  # SystemExit and its like are the user's, but the card must not wait for ever
            self._abandon(question.request.id)
            self._keep(card.completion or card.interrupt(), question)
            raise
        return self._ended(card, stream, question)

    def preview(self, question: Question, default_model: str) -> Preview:
        """The exact prompt of QUESTION; generates nothing."""
        model = self._session.use(question.model, question.load, default_model)
        try:
            return model.preview(self._inserted(question))
        except LocalLLMError as exc:
            self._session.drop(model, exc)
            raise

    def refuse(self, error: LocalLLMError, prompt: str, surface: Surface, default_model: str) -> None:
        """Show ERROR, which the options of a cell with PROMPT have, as a card that has failed."""
        used = ModelUsed(reference=self._current_reference() or default_model)
        completion = Card(surface, Request(messages=to_messages(prompt)), lambda: used, shows_error=True).fail(error)
        self._session.record(completion)
        self._shell.push({"_llm": completion}, interactive=False)

    def _start(self, question: Question, model: list[Model], default_model: str) -> Stream:
        request = self._inserted(question)
        model.append(self._session.use(question.model, question.load, default_model))
        if self._session.is_reloading(model[0]):
            request = replace(request, notices=(f"Reloaded with {changed_options(question.load)}.",))
        with uninterrupted():  # a stream that nobody holds would run on
            return model[0].start(request)

    def _abandon(self, id_: str) -> None:
        """Stop the generation that an interrupt came between us and, and wait until its model is free."""
        for stream in self._session.running:
            if stream.request.id == id_:
                stream.close()

    def _follow(self, card: Card, stream: Stream, model: Model) -> None:
        with stream:
            card.follow(stream)
        if stream.generation.error is not None:
            self._session.drop(model, stream.generation.error)

    def _inserted(self, question: Question) -> Request:
        """The request with its expressions evaluated, each once."""
        if not question.has_vars:
            return question.request
        messages = tuple(
            Message(role=message.role, content=interpolate(message.content, self._evaluate))
            for message in question.request.messages
        )
        return replace(question.request, messages=messages)

    def _evaluate(self, expression: str) -> object:
        code = compile(expression, "<prompt>", "eval")
        return eval(code, self._shell.user_global_ns, self._shell.user_ns)  # noqa: S307 - the user's own expression

    def _in_background(self, card: Card, stream: Stream, question: Question, model: Model) -> None:
        def finish() -> None:
            try:
                self._follow(card, stream, model)
            except Exception as exc:  # noqa: BLE001 - the same boundary, in a thread
                card.fail(_unforeseen(exc))
            if card.completion is not None:
                self._keep(card.completion, question)

        # The context tells ipykernel which cell the thread's output belongs to.
        run: Callable[[Callable[[], None]], None] = contextvars.copy_context().run
        threading.Thread(target=run, args=(finish,), name=f"localllm-card-{stream.request.id}", daemon=True).start()

    def _ended(self, card: Card, stream: Stream, question: Question) -> Completion | None:
        completion, error = card.completion, stream.generation.error
        assert completion is not None  # noqa: S101 - the card followed the stream to its end
        if error is not None:
            return self._failed(completion, error, question)
        self._keep(completion, question)
        if question.wants_code:
            self._insert_code(completion.text)
        return completion

    def _failed(self, completion: Completion, error: LocalLLMError, question: Question) -> Completion:
        self._keep(completion, question)
        if question.raises:
            raise error from error.__cause__
        return completion

    def _keep(self, completion: Completion, question: Question) -> None:
        self._session.record(completion)
        names = {"_llm": completion} if question.out is None else {"_llm": completion, question.out: completion}
        self._shell.push(names, interactive=question.out is not None)

    def _insert_code(self, text: str) -> None:
        found = _CODE_BLOCK.search(text)
        if found is None:
            print("The answer has no code block, so no cell was made.")  # noqa: T201 - the cell's output
            return
        self._shell.set_next_input(found[2].rstrip("\n"))

    def _current_reference(self) -> str | None:
        current = self._session.current
        return None if current is None or current.is_unloaded else current.info.reference


def shortened(exc: KeyboardInterrupt, words: str) -> KeyboardInterrupt:
    """EXC as IPython shows it in one line, unless it has words already."""
    if not hasattr(exc, "_render_traceback_"):
        exc._render_traceback_ = lambda: [f"KeyboardInterrupt: {words}"]  # type: ignore[attr-defined] # IPython's own protocol
    return exc


def _unforeseen(exc: Exception) -> InternalError:
    error = InternalError(f"{type(exc).__name__}: {exc}", "Please report this, with the output of %llm doctor.")
    error.__cause__ = exc
    return error
