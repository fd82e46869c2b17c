"""Settings: `%config LocalLLM...` and the table [tool.localllm] of pyproject.toml."""

import difflib
import os
import re
import sys
from pathlib import Path

from traitlets import Any, Bool, Bunch, Dict, Enum, List, TraitError, Unicode, validate
from traitlets.config import Configurable

from localllm_magics.core.address import Address
from localllm_magics.core.errors import BadOption
from localllm_magics.core.table import Table
from localllm_magics.engines.server.settings import ServerSettings
from localllm_magics.eviction import Limits
from localllm_magics.notebook.quantity import to_bytes, to_seconds

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

STREAM_VARIABLE = "LOCALLLM_STREAM"
SERVER_SETTINGS = ("daemons", "api_key_variables", "ca_file", "keep_alive")
"""The settings that `LocalLLM.server_settings` is made of."""
LIMITS = ("memory_limit", "idle_ttl")
"""The settings that `LocalLLM.limits` is made of."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_DURATION = re.compile(r"-?(?:\d+|(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+)")


def _check_addresses(texts: list[str]) -> None:
    for text in texts:
        Address.from_text(text)


def _check_variables(variables: dict[str, str]) -> None:
    for url, name in variables.items():
        Address.from_text(url)
        if not _VARIABLE.fullmatch(name):
            raise BadOption(
                f"What is set for {url} is not the name of an environment variable.",
                "Put the key into the environment, and write the variable's name: MY_SERVER_KEY.",
            )


def _check_duration(text: str) -> None:
    if text and not _DURATION.fullmatch(text):
        raise BadOption(f"keep_alive cannot be {text!r}.", "Write 10m, 1h30m, a number of seconds, or -1 for ever.")


def _check_file(text: str) -> None:
    if text and not Path(text).expanduser().is_file():
        raise BadOption(f"There is no file {text}.", "Write the path of a file of certificates, such as ~/ca.pem.")


class LocalLLM(Configurable):
    """What `%config LocalLLM` shows and changes; the tags of a setting are its line in pyproject.toml and its check."""

    default_model = Unicode("demo", help="The model when a cell names none and none is loaded.").tag(
        config=True, example='default_model = "demo"'
    )
    stream = Bool(True, help="Stream answers; without it only the final output is shown.").tag(
        config=True, example="stream = true"
    )
    card = Enum(
        ("markdown", "text"),
        "markdown",
        help="markdown updates one output in place; text appends, for jupyter console and qtconsole.",
    ).tag(config=True, example='card = "markdown"')
    model_folders = List(
        Unicode(), help="Folders with models, which are searched with those below them, beside the usual ones."
    ).tag(config=True, example='model_folders = ["~/models"]')
    daemons = List(Unicode(), help="URLs of servers to look for models on, beside the usual ones.").tag(
        config=True, example='daemons = ["http://192.168.1.5:8080"]', check=_check_addresses
    )
    api_key_variables = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        help="For each server's URL the name of the environment variable that holds its API key.",
    ).tag(
        config=True,
        example='api_key_variables = { "http://192.168.1.5:8080" = "MY_SERVER_KEY" }',
        check=_check_variables,
        is_secret=True,  # a key that was written there by mistake is never shown
    )
    ca_file = Unicode("", help="A file of certificates to trust for https, beside the system's.").tag(
        config=True, example='ca_file = "/path/to/ca.pem"', check=_check_file
    )
    keep_alive = Unicode(
        "", help="How long Ollama keeps a model in memory, such as 10m; empty leaves it to Ollama."
    ).tag(config=True, example='keep_alive = "10m"', check=_check_duration)

    memory_limit = Any(
        "",
        help="How much memory models may take together, on the host and on GPUs, such as 8 GB; empty for what is free. "
        "The least recently used leaves first.",
    ).tag(config=True, example='memory_limit = "8 GB"', check=to_bytes)
    idle_ttl = Any(
        "",
        help="How long a model that nothing uses stays in memory, such as 30m; empty for ever.",
    ).tag(config=True, example='idle_ttl = "30m"', check=to_seconds)

    @property
    def limits(self) -> Limits:
        """What models may take."""
        return Limits(memory_bytes=to_bytes(self.memory_limit), idle_seconds=to_seconds(self.idle_ttl))

    @property
    def server_settings(self) -> ServerSettings:
        """The settings for servers."""
        return ServerSettings(
            addresses=tuple(self.daemons),
            key_variables=dict(self.api_key_variables),
            ca_file=str(Path(self.ca_file).expanduser()) if self.ca_file else "",
            keep_alive=self.keep_alive,
        )

    @validate(*SERVER_SETTINGS, *LIMITS)
    def _check(self, proposal: Bunch) -> object:
        """Refuse what cannot be used; the setting stays as it was."""
        try:
            proposal["trait"].metadata["check"](proposal["value"])
        except BadOption as exc:
            raise TraitError(str(exc)) from exc
        return proposal["value"]

    @property
    def is_streaming(self) -> bool:
        """Whether to stream answers; the environment can forbid it."""
        return self.stream and os.environ.get(STREAM_VARIABLE, "").lower() not in ("off", "0", "false", "no")

    def read_project(self, folder: Path) -> None:
        """Take the settings of the nearest pyproject.toml in FOLDER or above it.

        Raises:
            BadOption: Settings are unknown or have wrong values; all others are taken.
        """
        wrong: list[BadOption] = []
        for key, value in _project_settings(folder).items():
            try:
                self._set(key, value)
            except BadOption as exc:
                wrong.append(exc)
        if wrong:
            *others, last = wrong
            raise BadOption("\n".join([*map(str, others), last.message]), last.hint)

    def _set(self, key: str, value: object) -> None:
        name, names = key.replace("-", "_"), self.class_trait_names(config=True)
        if name not in names:
            nearest = difflib.get_close_matches(name, names, 1)
            hint = f"Did you mean {nearest[0]}?" if nearest else f"Known settings: {', '.join(names)}."
            raise BadOption(f"[tool.localllm] in pyproject.toml has no setting {key!r}.", hint)
        try:
            setattr(self, name, value)
        except TraitError as exc:
            tags, cause = self.traits()[name].metadata, exc.__cause__
            shown = "this" if tags.get("is_secret") else repr(value)
            message, hint = f"{name} cannot be {shown}.", f"Write {tags['example']}."
            if isinstance(cause, BadOption):
                message, hint = cause.message, cause.hint
            raise BadOption(f"[tool.localllm] in pyproject.toml: {message}", hint) from exc

    def to_table(self) -> Table:
        """All settings with their values, and how to change them."""
        rows = []
        for name, trait in sorted(self.class_traits(config=True).items()):
            value = getattr(self, name)
            rows.append((name, repr(value), trait.help, f"%config LocalLLM.{name} = {value!r}"))
        is_off = self.stream and not self.is_streaming
        notes = (
            f"The environment has {STREAM_VARIABLE}={os.environ[STREAM_VARIABLE]}, so only final outputs are shown."
            if is_off
            else f"For this environment, {STREAM_VARIABLE}=off shows only final outputs.",
        )
        return Table(headers=("Setting", "Value", "Meaning", "To change it"), rows=tuple(rows), notes=notes)


def _project_settings(folder: Path) -> dict[str, object]:
    files = (parent / "pyproject.toml" for parent in (folder, *folder.parents))
    try:
        file = next((file for file in files if file.is_file()), None)
        settings: object = {} if file is None else tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # somebody else's file and somebody else's tools will say what is wrong with it
    for key in ("tool", "localllm"):
        settings = settings.get(key) if isinstance(settings, dict) else None
    return settings if isinstance(settings, dict) else {}
