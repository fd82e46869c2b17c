"""What to type instead of a line that is no command, or a cell that is no question."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

from localllm_magics.catalog.discover import DEMO
from localllm_magics.catalog.reference import is_path_like, resolve
from localllm_magics.catalog.server_reference import is_server_reference
from localllm_magics.core.address import hide_login, login_error
from localllm_magics.core.errors import BadOption, LocalLLMError, ModelNotFound
from localllm_magics.notebook.commands.ask import CELL
from localllm_magics.notebook.commands.command import Command
from localllm_magics.notebook.parser import Parsed, quoted

_CONVERSATION = "Conversations are still to come; until then, put what was said into the prompt: {{ _llm.text }}"
_HINTS = {
    "threads": _CONVERSATION,
    "thread": _CONVERSATION,
    "reset": _CONVERSATION,
    "bench": "Benchmarks are still to come; the rate of the last answer is in: %llm status",
}
_OTHER_NAMES = {
    **dict.fromkeys(("list", "ls", "search"), "models"),
    **dict.fromkeys(("ps", "show", "info"), "status"),
    **dict.fromkeys(("run", "chat", "prompt", "generate"), "ask"),
    **dict.fromkeys(("use", "switch", "model"), "load"),
    **dict.fromkeys(("rm", "remove", "delete", "free", "clear"), "unload"),
    **dict.fromkeys(("download", "install", "get", "fetch"), "pull"),
    **dict.fromkeys(("cancel", "interrupt", "kill", "quit"), "stop"),
    **dict.fromkeys(("set", "settings", "configure"), "config"),
    **dict.fromkeys(("version", "devices", "gpu", "check", "diagnose"), "doctor"),
    **dict.fromkeys(("server", "serve", "daemon"), "connect"),
    **dict.fromkeys(("command", "commands", "options"), "help"),
}
"""What other programs, or people, call a command."""
_MOST_WORDS = 3
"""Of a line with more, it is the first word of a question that is like a command."""


def unknown_command(line: str, commands: Mapping[str, Command]) -> BadOption:
    """The error for LINE, the part after `%llm`, which begins with none of COMMANDS."""
    name = line.split(maxsplit=1)[0]
    if hide_login(name) != name:
        return login_error()
    return BadOption(f"There is no command %llm {name}.", _command_hint(line, name, commands))


def check_words(parsed: Parsed) -> None:
    """Check that no word of a line, which a message may quote, holds a password.

    Raises:
        BadOption: One is an address with a user and a password.
    """
    for word in (*parsed.words, str(parsed.values.get("model", ""))):
        if hide_login(word) != word:
            raise login_error()


def check_cell(line: str, parsed: Parsed, cell: str, commands: Mapping[str, Command]) -> None:
    """Check that LINE, read as PARSED, and CELL are a question.

    Raises:
        BadOption: An option is wrong, the line is one for `%llm`, or the cell has no prompt.
    """
    if parsed.error is not None:
        raise parsed.error
    word = next(iter(parsed.words), "")
    if word in commands:
        raise BadOption(f"{word} is a command, not a model.", f"Leave it out, or type: %llm {line.strip()}")
    if not cell.strip():
        model = word if len(parsed.words) == 1 or _is_model(word) else ""
        typed = line.strip() if model == word or not parsed.words else ""
        hint = f"Write it in the lines below `{f'%%llm {typed}'.strip()}`, or type: {_ask_line(line, model)}"
        raise BadOption("The prompt is empty.", parsed.quoting_hint or hint)


def nearest_command(name: str, commands: Mapping[str, Command]) -> str:
    """The command that NAME means, or nothing."""
    names = {command: command for command in commands} | _OTHER_NAMES
    return next((names[near] for near in difflib.get_close_matches(name.lower(), names, 1)), "")


def _command_hint(line: str, name: str, commands: Mapping[str, Command]) -> str:
    words = CELL.parse(line).words
    if _is_model(name) or (words == (name,) and (is_path_like(name) or is_known(name))):
        return f"Write the prompt below a line with %%llm {line}, or type: {_ask_line(line, name)}"
    asking = f"To ask a model, type: %llm ask {line}"
    if len(words) > _MOST_WORDS or name[0] == "-":
        return asking
    near = nearest_command(name, commands)
    meant = f"Did you mean %llm {near}?" if near != "ask" else asking
    return _HINTS.get(name.lower()) or (meant if near else f"To list all commands, type: %llm help. {asking}")


def _is_model(word: str) -> bool:
    """Whether WORD has the form of a model reference."""
    return word == DEMO or is_server_reference(word) or word.lower().endswith((".gguf", ".llamafile"))


def is_known(word: str) -> bool:
    """Whether WORD is the name of a model."""
    try:
        resolve(word, Path())
    except LocalLLMError as exc:
        return not isinstance(exc, ModelNotFound)
    return True


def _ask_line(line: str, model: str) -> str:
    """The line that asks MODEL, or the current one, with the options and the text of LINE."""
    rest = re.sub(rf"(^|\s){re.escape(quoted(model))}(?=\s|$)", "", line, count=1).strip() if model else line.strip()
    named = f"-m {quoted(model)}" if model else ""
    has_text = CELL.parse(rest).words
    return " ".join(filter(None, ("%llm ask", named, rest, "" if has_text else "What is a token?")))
