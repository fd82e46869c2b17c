"""The boundary: from a question to a card that ends, whatever happens."""

import contextvars
import re
import textwrap
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.core.address import hide_login
from localllm_magics.core.completion import Completion, ModelUsed
from localllm_magics.core.errors import InternalError, LocalLLMError
from localllm_magics.core.exhausted import to_setup_error
from localllm_magics.core.generation import Generation
from localllm_magics.core.messages import Message
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.sanitizer.control import strip_control
from localllm_magics.core.table import Table
from localllm_magics.engines.base import Preview
from localllm_magics.engines.stream import Stream
from localllm_magics.notebook.card.card import Card
from localllm_magics.notebook.card.front_end import FrontEnd
from localllm_magics.notebook.config import LocalLLM
from localllm_magics.notebook.dry_run import to_bundle
from localllm_magics.notebook.interrupts import shorten, uninterrupted
from localllm_magics.notebook.next_cell import NextCell
from localllm_magics.notebook.pending import PendingCompletion
from localllm_magics.notebook.prompt.interpolate import interpolate
from localllm_magics.notebook.prompt.scope import visible_names
from localllm_magics.notebook.question import Question
from localllm_magics.session import Session, Use

_CODE_BLOCK = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|~{3,})[^\n]*\n(?P<code>.*?)(?P<end>^[ \t]*(?P=fence)|\Z)", re.MULTILINE | re.DOTALL
)


@dataclass(slots=True)
class _Asking:
    """A question that is being answered, and what has to be ended with it."""

    question: Question
    generation: Generation
    card: Card
    use: Use | None = None
    stream: Stream | None = None
    error: LocalLLMError | None = None
    pending: PendingCompletion | None = None
    has_thread: bool = False  # of its own, in which it is ended


class Notebook:
    """The shell that a command was typed into, and the models and settings that it works with.

    Args:
        shell: Where variables are looked up and bound.
        session: What is loaded in this process.
        config: The user's settings.
    """

    def __init__(self, shell: InteractiveShell, session: Session, config: LocalLLM) -> None:
        self.session = session
        self.config = config
        self.front_end = FrontEnd(shell, config)
        self._shell = shell
        self._next_cell = NextCell(shell)

    def write(self, text: str) -> None:
        """Show a line of TEXT."""
        print(strip_control(text))  # noqa: T201 - the magic's output

    def show(self, table: Table) -> None:
        """Show TABLE, whatever becomes of the value of the line."""
        self._shell.display_pub.publish({"text/plain": str(table), "text/markdown": table.to_markdown()}, metadata={})

    def answer(self, question: Question) -> Completion | Preview | None:
        """Show the answer, or what would be sent; None while it is generated in the background.

        Raises:
            LocalLLMError: It failed, and the question does not forbid to raise.
            KeyboardInterrupt: It was interrupted; the text so far is kept.
        """
        if question.is_dry_run:
            return self._preview(question)
        if question.in_background and self.front_end.is_program:
            question = replace(question, in_background=False)
        asking = self._new_asking(question)
        self._ask(asking)
        if asking.has_thread:
            return None
        if asking.error is not None and question.raises:
            raise asking.error from asking.error.__cause__
        if question.wants_code and asking.error is None:
            self._insert_code(asking.generation.text)
        return asking.card.completion

    def refuse(self, error: LocalLLMError) -> None:
        """Show ERROR, for which nothing is asked, as a card that has failed."""
        question = Question(model=None, load=LoadOptions(), request=Request(messages=()), raises=False)
        asking = self._new_asking(question)
        asking.error = error
        self._end(asking)

    def _preview(self, question: Question) -> Preview:
        """Show the exact prompt of QUESTION; generates nothing."""
        request = self._interpolated(question)
        use = self.session.use(question.model, question.load, self.config.default_model)
        try:
            preview = use.model.preview(request)
        finally:
            use.undo()
        self._shell.display_pub.publish(to_bundle(preview), metadata={})
        return preview

    def _new_asking(self, question: Question) -> _Asking:
        current = self.session.current
        known = current.info.reference if current else self.config.default_model
        generation = Generation(question.request, ModelUsed(reference=hide_login(question.model or known)))
        surface = self.front_end.new_surface(in_background=question.in_background)
        card = Card(surface, generation, shows_error=question.in_background or not question.raises)
        return _Asking(question, generation, card)

    def _ask(self, asking: _Asking) -> None:
        try:
            asking.card.open()
            stream = self._start(asking)
            if asking.question.in_background:
                self._follow_in_background(asking, stream)
            else:
                asking.card.follow(stream)
        except Exception as exc:  # noqa: BLE001 - the boundary: whatever happens, the card ends with an error
            asking.error = _to_error(exc)
        except KeyboardInterrupt as exc:
            shorten(exc, "stopped. The text so far is in _llm." if asking.generation.text else "stopped.")
            raise
        finally:  # SystemExit and its like are the user's, but the card must not wait for ever
            if not asking.has_thread:
                self._end(asking)

    def _start(self, asking: _Asking) -> Stream:
        question, generation = asking.question, asking.generation
        generation.request = self._interpolated(question)
        asking.use = self.session.use(question.model, question.load, self.config.default_model)
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
        name, out = f"localllm-card-{asking.generation.id}", asking.question.out
        if out is not None:
            asking.pending = PendingCompletion(out, asking.generation)
            self._shell.push({out: asking.pending})
        with uninterrupted():  # only one of two threads may end the card
            threading.Thread(target=run, args=(follow,), name=name, daemon=True).start()
            asking.has_thread = True

    def _end(self, asking: _Asking) -> None:
        """End all that ASKING has begun, even if that is interrupted."""
        try:
            if asking.stream is not None:
                asking.stream.close()
        finally:
            with uninterrupted():
                self._conclude(asking)

    def _conclude(self, asking: _Asking) -> None:
        """Show and bind what has come of ASKING; an error of the generation becomes its error."""
        asking.error = error = asking.error or asking.generation.error
        ended = asking.card.completion
        completion = ended or asking.generation.to_completion("error" if error else "stopped", error)
        try:
            asking.card.finish(completion)
        finally:
            self.session.record(completion)
            self._shell.push({"_llm": completion}, interactive=False)
            self._bind(asking, completion)
            if asking.use is not None:
                has_answered = completion.finish_reason in ("stop", "length") or completion.stats.completion_tokens
                end_use = asking.use.keep if has_answered else asking.use.undo
                end_use()

    def _bind(self, asking: _Asking, completion: Completion) -> None:
        """Bind COMPLETION to the variable of ASKING, unless that has another value since then."""
        out, pending = asking.question.out, asking.pending
        if pending is not None:
            pending.end(completion)
        if out is not None and (pending is None or self._shell.user_ns.get(out) is pending):
            self._shell.push({out: completion})

    def _interpolated(self, question: Question) -> Request:
        """The request with its expressions evaluated, each once."""
        if not question.has_vars:
            return question.request
        names = visible_names(self._shell.user_ns)

        def evaluate(expression: str) -> object:
            value = eval(compile(expression, "<prompt>", "eval"), names)  # noqa: S307 - the user's own expression
            return value.wait() if isinstance(value, PendingCompletion) else value

        messages = tuple(
            Message.from_text(message.role, interpolate(message.text, evaluate))
            for message in question.request.messages
        )
        return replace(question.request, messages=messages)

    def _insert_code(self, text: str) -> None:
        found = _CODE_BLOCK.search(text)
        if found is None:
            self.write("The answer has no code block, so no cell was made.")
        elif not found["end"]:
            self.write("The code block of the answer is not complete, so no cell was made.")
        elif notice := self._next_cell.insert(textwrap.dedent(found["code"]).rstrip("\n")):
            self.write(notice)


def _to_error(exc: Exception) -> LocalLLMError:
    if isinstance(exc, LocalLLMError):
        return exc
    hint = "Please report this, with the output of %llm doctor."
    error = to_setup_error(exc) or InternalError(f"{type(exc).__name__}: {exc}", hint)
    error.__cause__ = exc
    return error
