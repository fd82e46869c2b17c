"""Settings: `%config LocalLLM...` and the table [tool.localllm] of pyproject.toml."""

import difflib
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from traitlets import Bool, Bunch, Dict, List, TraitError, Unicode, validate
from traitlets.config import Configurable

from localllm_magics.core.errors import BadOption
from localllm_magics.core.table import Table
from localllm_magics.engines.server.address import Address
from localllm_magics.engines.server.settings import ServerSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

STREAM_VARIABLE = "LOCALLLM_STREAM"
SERVER_SETTINGS = ("daemons", "api_key_variables", "ca_file", "keep_alive")
"""The settings that `LocalLLM.server_settings` is made of."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_KEPT = re.compile(r"-?(?:\d+|(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+)")
_NEVER_SHOWN = "api_key_variables"  # a key that was written there by mistake is never shown


class LocalLLM(Configurable):
    """What `%config LocalLLM` shows and changes."""

    default_model = Unicode("demo", help="The model when a cell names none and none is loaded.").tag(config=True)
    stream = Bool(True, help="Show answers while they are made; without it only the final output.").tag(config=True)

    daemons = List(Unicode(), help="URLs of servers to look for models on, beside the usual ones.").tag(config=True)
    api_key_variables = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        help="For each server's URL the name of the environment variable that holds its API key.",
    ).tag(config=True)
    ca_file = Unicode("", help="A file of certificates to trust for https, beside the system's.").tag(config=True)
    keep_alive = Unicode(
        "", help="How long Ollama keeps a model in memory, such as 10m; empty leaves it to Ollama."
    ).tag(config=True)

    @property
    def server_settings(self) -> ServerSettings:
        """The settings for servers."""
        return ServerSettings(
            addresses=tuple(self.daemons),
            key_variables=dict(self.api_key_variables),
            ca_file=str(Path(self.ca_file).expanduser()) if self.ca_file else "",
            keep_alive=self.keep_alive,
        )

    @validate(*SERVER_SETTINGS)
    def _check(self, proposal: Bunch) -> object:
        """Refuse what no server can be reached with; the setting stays as it was."""
        try:
            _CHECKS[proposal["trait"].name](proposal["value"])
        except BadOption as exc:
            raise TraitError(str(exc)) from exc
        return proposal["value"]

    @property
    def is_streaming(self) -> bool:
        """Whether to show answers while they are made; the environment can forbid it."""
        return self.stream and os.environ.get(STREAM_VARIABLE, "").lower() not in ("off", "0", "false", "no")

    def read_project(self, folder: Path) -> None:
        """Take the settings of the nearest pyproject.toml in FOLDER or above it.

        Raises:
            BadOption: A setting is unknown or has a wrong value.
        """
        names = self.class_trait_names(config=True)
        for key, value in _project_settings(folder).items():
            name = key.replace("-", "_")
            if name not in names:
                nearest = difflib.get_close_matches(name, names, 1)
                hint = f"Did you mean {nearest[0]}?" if nearest else f"Known settings: {', '.join(names)}."
                raise BadOption(f"[tool.localllm] in pyproject.toml has no setting {key!r}.", hint)
            _set(self, name, value)

    def to_table(self) -> Table:
        """All settings with their values, and how to change them."""
        rows = []
        for name, trait in sorted(self.class_traits(config=True).items()):
            value = getattr(self, name)
            rows.append((name, repr(value), trait.help, f"%config LocalLLM.{name} = {value!r}"))
        notes = (f"For this environment, {STREAM_VARIABLE}=off shows only final outputs.",)
        return Table(headers=("Setting", "Value", "Meaning", "To change it"), rows=tuple(rows), notes=notes)


def _set(settings: LocalLLM, name: str, value: object) -> None:
    try:
        setattr(settings, name, value)
    except TraitError as exc:
        reason, hint = (
            f"{name} cannot be {'this' if name == _NEVER_SHOWN else repr(value)}.",
            f"Write {_EXAMPLES[name]}.",
        )
        if isinstance(exc.__cause__, BadOption):
            reason, hint = exc.__cause__.message, exc.__cause__.hint
        raise BadOption(f"[tool.localllm] in pyproject.toml: {reason}", hint) from exc


def _check_addresses(texts: list[str]) -> None:
    for text in texts:
        Address.from_text(text)


def _check_variables(variables: dict[str, str]) -> None:
    for url, name in variables.items():
        Address.from_text(url)
        if not _VARIABLE.fullmatch(name):
            raise BadOption(
                f"What is set for {url} is no name of an environment variable.",
                "Put the key into the environment, and write the variable's name: MY_SERVER_KEY.",
            )


def _check_kept(text: str) -> None:
    if text and not _KEPT.fullmatch(text):
        raise BadOption(f"keep_alive cannot be {text!r}.", "Write 10m, 1h30m, a number of seconds, or -1 for ever.")


def _check_file(text: str) -> None:
    if text and not Path(text).expanduser().is_file():
        raise BadOption(f"There is no file {text}.", "Write the path of a file of certificates, such as ~/ca.pem.")


_CHECKS: Mapping[str, Callable[..., None]] = {
    "daemons": _check_addresses,
    "api_key_variables": _check_variables,
    "ca_file": _check_file,
    "keep_alive": _check_kept,
}
_EXAMPLES: Mapping[str, str] = {
    "default_model": 'default_model = "demo"',
    "stream": "stream = true",
    "daemons": 'daemons = ["http://192.168.1.5:8080"]',
    "api_key_variables": 'api_key_variables = { "http://192.168.1.5:8080" = "MY_SERVER_KEY" }',
    "ca_file": 'ca_file = "/path/to/ca.pem"',
    "keep_alive": 'keep_alive = "10m"',
}


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
