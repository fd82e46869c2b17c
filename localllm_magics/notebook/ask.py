"""One question: from the words of a magic to a card and its completion."""

import contextvars
import keyword
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.core.completion import Completion, ModelUsed
from localllm_magics.core.errors import BadOption, InternalError, LocalLLMError
from localllm_magics.core.generation import Generation
from localllm_magics.core.messages import Message, to_messages
from localllm_magics.core.preview import Preview
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.sampling import Sampling
from localllm_magics.engines.stream import Stream
from localllm_magics.notebook.card.card import Card
from localllm_magics.notebook.card.surface import Surface
from localllm_magics.notebook.interrupts import uninterrupted
from localllm_magics.notebook.options import LOADING, SAMPLING, Parsed
from localllm_magics.notebook.prompt.interpolate import interpolate
from localllm_magics.session import Session, Use

_CODE_BLOCK = re.compile(r"^(`{3,}|~{3,})[^\n]*\n(.*?)^\1", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a magic asks, with all its options checked.

    Args:
        model: The reference, or None for the current model.
        load: How the model is to be loaded.
        request: The prompt as it was typed, and the sampling.
        out: Variable for the completion.
    """

    model: str | None
    load: LoadOptions
    request: Request
    out: str | None = None
    has_vars: bool = True
    wants_code: bool = False
    in_background: bool = False
    raises: bool = True


def to_question(parsed: Parsed, prompt: str, model: str | None = None) -> Question:
    """The question that the options of PARSED and PROMPT make.

    Raises:
        BadOption: A value is out of range, or two options exclude each other.
    """
    values = parsed.values
    out = values.get("out")
    if isinstance(out, str) and (keyword.iskeyword(out) or not out.isidentifier()):
        raise BadOption(f"--out cannot be {out!r}.", "Try -o answer.")
    if values.get("code") and values.get("background"):
        raise BadOption("--code cannot be used with --background.", "Leave one of them out.")
    if values.get("think") and values.get("no_think"):
        raise BadOption("--think cannot be used with --no-think.", "Leave one of them out.")
    if not prompt.strip():
        raise BadOption("The prompt is empty.", "Write it below the line with %%llm, or after %llm ask.")
    if model is not None and "model" in values:
        raise BadOption("The model is given twice.", f"Leave --model {values['model']} out.")
    system = values.get("system")
    sampling = Sampling.from_options({option.name: values[option.name] for option in SAMPLING if option.name in values})
    return Question(
        model=model or _text(values.get("model")),
        load=LoadOptions(**{option.name: values.get(option.name) for option in LOADING}),  # type: ignore[arg-type] # converted by the options' own table
        request=Request(
            messages=to_messages(prompt, _text(system)),
            sampling=sampling,
            raw="raw" in values,
            think=True if "think" in values else False if "no_think" in values else None,
        ),
        out=_text(out),
        has_vars="no_vars" not in values,
        wants_code="code" in values,
        in_background="background" in values,
        raises="no_raise" not in values,
    )


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
        reference = question.model or self._current_reference() or default_model
        generation = Generation(question.request, ModelUsed(reference=reference))
        card = Card(surface, generation, shows_error=question.in_background or not question.raises)
        uses: list[Use] = []
        try:
            card.open()
            stream = self._start(question, generation, uses, default_model)
            if question.in_background:
                self._in_background(card, stream, question, uses[0])
                return None
            self._follow(card, stream, uses[0])
        except KeyboardInterrupt as exc:
            self._abandon(card, question, uses)
            raise shortened(exc, "stopped. The text so far is in _llm.") from None
        except LocalLLMError as exc:
            return self._failed(card.fail(exc), exc, question)
        except Exception as exc:  # noqa: BLE001 - the boundary: whatever happens, the card ends and the user is told
            error = _unforeseen(exc)
            return self._failed(card.fail(error), error, question)
        except BaseException:  # SystemExit and its like are the user's, but the card must not wait for ever
            self._abandon(card, question, uses)
            raise
        return self._ended(card, stream, question)

    def preview(self, question: Question, default_model: str) -> Preview:
        """The exact prompt of QUESTION; generates nothing."""
        request = self._inserted(question)
        use = self._session.use(question.model, question.load, default_model)
        try:
            return use.model.preview(request)
        finally:
            use.undo()

    def refuse(self, error: LocalLLMError, prompt: str, surface: Surface, default_model: str) -> None:
        """Show ERROR, which the options of a cell with PROMPT have, as a card that has failed."""
        used = ModelUsed(reference=self._current_reference() or default_model)
        generation = Generation(Request(messages=to_messages(prompt)), used)
        completion = Card(surface, generation, shows_error=True).fail(error)
        self._session.record(completion)
        self._shell.push({"_llm": completion}, interactive=False)

    def _start(self, question: Question, generation: Generation, uses: list[Use], default_model: str) -> Stream:
        """Begin GENERATION, and put the use of its model into USES, where an interrupt cannot lose it."""
        generation.request = self._inserted(question)
        use = self._session.use(question.model, question.load, default_model)
        uses.append(use)
        generation.notices.extend(use.notices)
        with uninterrupted():  # a stream that nobody holds would run on
            return use.model.start(generation)

    def _abandon(self, card: Card, question: Question, uses: list[Use]) -> None:
        """End what an interrupt came between: the generation, whose model is free afterwards, its use, and the card."""
        for stream in self._session.running:
            if stream.request.id == question.request.id:
                stream.close()
        completion = card.completion or card.interrupt()
        for use in uses:
            _end(use, completion)
        self._keep(completion, question)

    def _follow(self, card: Card, stream: Stream, use: Use) -> None:
        with stream:
            completion = card.follow(stream)
        _end(use, completion)

    def _inserted(self, question: Question) -> Request:
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

    def _in_background(self, card: Card, stream: Stream, question: Question, use: Use) -> None:
        def finish() -> None:
            try:
                self._follow(card, stream, use)
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


def _end(use: Use, completion: Completion) -> None:
    """End USE: its model is the current one if it has answered."""
    if completion.finish_reason in ("stop", "length") or completion.stats.completion_tokens:
        use.keep()
    else:
        use.undo()


def shortened(exc: KeyboardInterrupt, words: str) -> KeyboardInterrupt:
    """EXC as IPython shows it in one line, unless it has words already."""
    if not hasattr(exc, "_render_traceback_"):
        exc._render_traceback_ = lambda: [f"KeyboardInterrupt: {words}"]  # type: ignore[attr-defined] # IPython's own protocol
    return exc


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _unforeseen(exc: Exception) -> InternalError:
    error = InternalError(f"{type(exc).__name__}: {exc}", "Please report this, with the output of %llm doctor.")
    error.__cause__ = exc
    return error
