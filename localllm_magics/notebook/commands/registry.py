"""The commands of `%llm`, each declared once: parsing, help and completion follow from here."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from localllm_magics.catalog.discover import ModelList
from localllm_magics.core.completion import Completion, ModelUsed
from localllm_magics.core.errors import BadOption
from localllm_magics.core.preview import Preview
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.table import Table, to_size
from localllm_magics.notebook.ask import Question, to_question
from localllm_magics.notebook.config import LocalLLM
from localllm_magics.notebook.options import ASKING, CLEANING, LOADING, Option, Parsed, asks_not_to_raise, parse
from localllm_magics.session import Session


class Notebook(Protocol):
    """What a command needs of the shell that it was typed into."""

    session: Session
    config: LocalLLM

    def answer(self, question: Question, *, dry_run: bool) -> Completion | Preview | None:
        """Show the answer, or what would be asked."""

    def load(self, reference: str | None, options: LoadOptions) -> None:
        """Bring a model into memory, showing how far it is."""

    def pull(self, reference: str) -> None:
        """Have a server get a model, showing how far it is."""

    def say(self, text: str) -> None:
        """Show one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command: how it is typed, what it is for, and what it does.

    Args:
        words: Names of the words that it takes, in brackets where they can be left out.
        takes_text: The rest of the line is text.
        completes: What Tab offers for its words: `models`, `loaded`, or nothing.
    """

    name: str
    help: str
    run: Callable[[Notebook, Parsed], object]
    words: str = ""
    options: tuple[Option, ...] = ()
    takes_text: bool = False
    completes: str = ""

    @property
    def usage(self) -> str:
        """How it is typed."""
        options = " [options]" if self.options else ""
        return f"%llm {self.name}{options} {self.words}".rstrip()


def run_command(notebook: Notebook, line: str) -> object:
    """Do what LINE, the part after `%llm`, says.

    Raises:
        LocalLLMError: It cannot be done.
    """
    name, _, rest = line.strip().partition(" ")
    command = COMMANDS.get(name or "help")
    if command is None:
        raise _unknown(name, f"To ask a model, type: %llm ask {line.strip()}")
    parsed = parse(rest, command.options, takes_text=command.takes_text)
    most = len(command.words.split())
    if not command.takes_text and len(parsed.words) > most:
        raise BadOption(f"%llm {name} does not take {parsed.words[most]!r}.", f"Type: {command.usage}")
    return command.run(notebook, parsed)


def is_not_to_raise(line: str) -> bool:
    """Whether LINE has an option that an error shall not fail the cell."""
    name, _, rest = line.strip().partition(" ")
    command = COMMANDS.get(name)
    return command is not None and asks_not_to_raise(rest, command.options, takes_text=command.takes_text)


def _unknown(name: str, otherwise: str) -> BadOption:
    nearest = difflib.get_close_matches(name, COMMANDS, 1)
    hint = f"Did you mean %llm {nearest[0]}?" if nearest else otherwise
    return BadOption(f"There is no command %llm {name}.", hint)


def _ask(notebook: Notebook, parsed: Parsed) -> object:
    return notebook.answer(to_question(parsed, parsed.text), dry_run="dry_run" in parsed.values)


def _models(notebook: Notebook, _parsed: Parsed) -> ModelList:
    return notebook.session.list_models()


def _connect(notebook: Notebook, parsed: Parsed) -> ModelList:
    from localllm_magics.notebook.commands.connect import connect

    if not parsed.words:
        raise BadOption("%llm connect needs an address.", "Type: %llm connect http://127.0.0.1:8080")
    return connect(parsed.words[0], notebook.session, notebook.config)


def _pull(notebook: Notebook, parsed: Parsed) -> None:
    if not parsed.words:
        raise BadOption("%llm pull needs a model.", "Type: %llm pull ollama:llama3.2")
    notebook.pull(parsed.words[0])


def _load(notebook: Notebook, parsed: Parsed) -> Table:
    if not parsed.words:
        raise BadOption("%llm load needs a model.", "Type: %llm load demo, or %llm models for a list.")
    options = LoadOptions(**{option.name: parsed.get(option.name) for option in LOADING})  # type: ignore[arg-type] # converted by the options' own table
    notebook.load(parsed.words[0], options)
    return _status(notebook, parsed)


def _unload(notebook: Notebook, parsed: Parsed) -> None:
    names = notebook.session.unload(*parsed.words)
    notebook.say(f"Unloaded {', '.join(names)}." if names else "No model is loaded.")


def _status(notebook: Notebook, _parsed: Parsed) -> Table:
    session = notebook.session
    statuses = {model: model.status(refresh=True) for model in session.models}
    rows = []
    for model, status in statuses.items():
        used, last = status.model, session.last(model.info.reference)
        rows.append(
            (
                f"{model.info.reference} (current)" if model is session.current else model.info.reference,
                _place(used),
                to_size(status.memory_bytes) if status.memory_bytes else "",
                f"{used.gpu_layers} of {(used.layers or 0) + 1}" if used.gpu_layers is not None else "",
                f"{used.context:,}" if used.context else "",
                last.stats.rate if last else "",
            )
        )
    details = [status.detail for status in statuses.values() if status.detail]
    notices = dict.fromkeys(notice for status in statuses.values() for notice in status.notices)
    running = [
        f"Running: {stream.request.id}. To stop it, type: %llm stop {stream.request.id}" for stream in session.running
    ]
    empty = () if rows else ("No model is loaded. Type: %llm load demo",)
    headers = ("Model", "Engine", "Memory", "Layers on GPU", "Context", "Last answer")
    return Table(headers=headers, rows=tuple(rows), notes=(*details, *notices, *running, *empty))


def _place(used: ModelUsed) -> str:
    if used.device is not None:
        return f"{used.engine} on {used.device}"
    return "not in memory yet" if used.engine == "kernel" else f"{used.engine}"


def _stop(notebook: Notebook, parsed: Parsed) -> None:
    count = notebook.session.stop(*parsed.words)
    if parsed.words and not count:
        running = ", ".join(stream.request.id for stream in notebook.session.running) or "none"
        raise BadOption(f"No answer with the id {parsed.words[0]} is running.", f"Running: {running}.")
    notebook.say(f"Stopped {count}." if count else "Nothing is running.")


def _doctor(notebook: Notebook, parsed: Parsed) -> Table:
    from localllm_magics.notebook.commands.doctor import checkup, clean  # it looks into the engines, imported when used

    return clean() if "clean" in parsed.values else checkup(notebook.session.settings)


def _config(notebook: Notebook, _parsed: Parsed) -> Table:
    return notebook.config.to_table()


def _help(_notebook: Notebook, parsed: Parsed) -> Table:
    if parsed.words:
        command = COMMANDS.get(parsed.words[0])
        if command is None:
            raise _unknown(parsed.words[0], "To list all commands, type: %llm help")
        rows = tuple((option.usage, option.help) for option in command.options)
        return Table(headers=("Option", "Meaning"), rows=rows, title=command.usage, notes=(f"{command.help}.",))
    rows = tuple((command.usage, command.help) for command in COMMANDS.values())
    note = "A cell asks with %%llm [MODEL] [options] above its prompt; %llm help ask has the options."
    return Table(headers=("Command", "What it does"), rows=rows, notes=(note,))


COMMANDS: Mapping[str, Command] = {
    command.name: command
    for command in (
        Command(name="ask", words="TEXT", options=ASKING, takes_text=True, run=_ask, help="ask in one line"),
        Command(name="models", run=_models, help="list the models that can be used, those of running servers too"),
        Command(name="connect", words="URL", run=_connect, help="see what a server has, and remember it"),
        Command(name="pull", words="ollama:NAME", run=_pull, help="have Ollama download a model"),
        Command(
            name="load",
            words="REF",
            options=LOADING,
            run=_load,
            completes="models",
            help="load a model and make it the current one",
        ),
        Command(
            name="unload", words="[REF]", run=_unload, completes="loaded", help="give a model's memory back, or all"
        ),
        Command(name="status", run=_status, help="show what is loaded where, and what runs"),
        Command(name="stop", words="[ID]", run=_stop, help="stop an answer that is being made, or all"),
        Command(
            name="doctor", options=CLEANING, run=_doctor, help="show what is there, and how to mend what is missing"
        ),
        Command(name="config", run=_config, help="show the settings"),
        Command(name="help", words="[COMMAND]", run=_help, help="show the commands, or the options of one"),
    )
}
