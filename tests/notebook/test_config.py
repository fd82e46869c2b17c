"""Settings come from pyproject.toml and from %config."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics import load_ipython_extension, unload_ipython_extension
from localllm_magics.core.errors import BadOption, ModelNotFound
from localllm_magics.engines.server.settings import ServerSettings
from localllm_magics.eviction import Limits
from localllm_magics.model import Model
from localllm_magics.notebook.config import LocalLLM
from localllm_magics.session import default_session


def project(folder: Path, text: str) -> Path:
    (folder / "pyproject.toml").write_text(text, "utf-8")
    return folder


def toml(item: tuple[str, str]) -> str:
    """A key and its value as an inline table has them."""
    return " = ".join(map(json.dumps, item))


def test_settings_have_defaults(tmp_path: Path) -> None:
    settings = LocalLLM()
    settings.read_project(tmp_path)

    assert (settings.default_model, settings.stream) == ("demo", True)


def test_a_project_sets_them(tmp_path: Path) -> None:
    settings = LocalLLM()
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    project(tmp_path, '[tool.localllm]\ndefault-model = "x.gguf"\nstream = false\n')

    settings.read_project(inner)

    assert (settings.default_model, settings.stream) == ("x.gguf", False)


def test_only_the_nearest_project_counts(tmp_path: Path) -> None:
    settings = LocalLLM()
    inner = tmp_path / "inner"
    inner.mkdir()
    project(tmp_path, '[tool.localllm]\ndefault_model = "x.gguf"\n')
    project(inner, "[project]\n")

    settings.read_project(inner)

    assert settings.default_model == "demo"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param('[tool.localllm]\ndefaultmodel = "x"\n', "Did you mean default_model?", id="unknown, near"),
        pytest.param("[tool.localllm]\nzzz = 1\n", "Known settings: api_key_variables, ca_file, ", id="unknown"),
        pytest.param('[tool.localllm]\nstream = "no"\n', "Write stream = true.", id="wrong type"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadOption) as caught:
        LocalLLM().read_project(project(tmp_path, text))

    assert "[tool.localllm] in pyproject.toml" in caught.value.message
    assert caught.value.hint.startswith(message)


def test_wrong_settings_are_all_named_and_keep_no_other_from_being_taken(tmp_path: Path) -> None:
    settings = LocalLLM()
    text = '[tool.localllm]\nstraem = true\nmemory_limit = 8\nidle_ttl = 1.5\ndefault_model = "x"\n'

    with pytest.raises(BadOption) as caught:
        settings.read_project(project(tmp_path, text))

    assert settings.default_model == "x"
    assert [line.partition(":")[2] or line for line in str(caught.value).splitlines()] == [
        "[tool.localllm] in pyproject.toml has no setting 'straem'.",
        "Did you mean stream?",
        " memory_limit cannot be 8.",
        'Write "8 GB", a number of bytes from a million up, or "" for none.',
        " idle_ttl cannot be 1.5.",
        'Write "30m", "1h30m", a number of seconds, or "" for ever.',
    ]


@pytest.mark.parametrize(
    "text", ["no TOML at all", "tool = 1\n", "[tool]\nlocalllm = 1\n", "[[tool.localllm]]\n", "\udcff"]
)
def test_somebody_elses_mistakes_are_left_to_others(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_bytes(text.encode("utf-8", "surrogateescape"))

    LocalLLM().read_project(tmp_path)


def test_a_wrong_setting_does_not_keep_the_extension_from_loading(
    bare_shell: InteractiveShell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project(tmp_path, "[tool.localllm]\nzzz = 1\n")

    load_ipython_extension(bare_shell)

    assert "has no setting 'zzz'" in capsys.readouterr().out
    assert "llm" in bare_shell.magics_manager.magics["cell"]


def test_config_magic_changes_the_default_model(shell: InteractiveShell) -> None:
    result = shell.run_cell("%config LocalLLM.default_model = 'gone.gguf'")

    assert result.success
    with pytest.raises(ModelNotFound, match=r"gone\.gguf"):
        shell.run_line_magic("llm", "ask Hello")


def test_config_magic_lists_the_settings(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_cell("%config LocalLLM")

    assert "LocalLLM.default_model=<Unicode>" in capsys.readouterr().out


def test_config_command_shows_how_to_change_each(shell: InteractiveShell) -> None:
    table = shell.run_line_magic("llm", "config")

    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["default_model"][-1] == "%config LocalLLM.default_model = 'demo'"
    assert rows["daemons"][-1] == "%config LocalLLM.daemons = []"
    assert list(rows) == sorted(rows)
    assert {
        "api_key_variables",
        "ca_file",
        "card",
        "idle_ttl",
        "keep_alive",
        "memory_limit",
        "model_folders",
        "stream",
    } < set(rows)
    assert all(all(row) for row in table.rows)


def test_servers_can_be_set_in_a_project(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.touch()
    settings = LocalLLM()
    project(
        tmp_path,
        f"""[tool.localllm]
daemons = ["http://192.168.1.5:8080/v1"]
api_key_variables = {{ "http://192.168.1.5:8080" = "MY_SERVER_KEY" }}
ca-file = {str(authority)!r}
keep_alive = "1h30m"
""",
    )

    settings.read_project(tmp_path)

    assert settings.server_settings == ServerSettings(
        addresses=("http://192.168.1.5:8080/v1",),
        key_variables={"http://192.168.1.5:8080": "MY_SERVER_KEY"},
        ca_file=str(authority),
        keep_alive="1h30m",
    )


def test_a_certificate_may_be_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.pem").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))

    assert LocalLLM(ca_file="~/ca.pem").server_settings.ca_file == str(tmp_path / "ca.pem")


BAD = [
    pytest.param("daemons", ["192.168.1.5:8080"], "is no address of a server", "http://127.0.0.1:8080", id="a place"),
    pytest.param("daemons", ["http://a:b@c"], "no user and no password", "LOCALLLM_API_KEY", id="a password"),
    pytest.param("daemons", 5, "daemons cannot be 5", "daemons = [", id="no list"),
    pytest.param("api_key_variables", {"x": "KEY"}, "is no address of a server", "http://", id="a key's place"),
    pytest.param("api_key_variables", {"http://a": "sk-5ec-ret"}, "http://a is not the", "MY_SERVER_KEY", id="a key"),
    pytest.param("api_key_variables", "5ec-ret", "api_key_variables cannot be this", "MY_SERVER_KEY", id="a bare key"),
    pytest.param("ca_file", "gone.pem", "There is no file gone.pem", "~/ca.pem", id="no file"),
    pytest.param("keep_alive", "ten minutes", "keep_alive cannot be 'ten minutes'", "10m", id="words"),
    pytest.param("keep_alive", "10 m", "keep_alive cannot be '10 m'", "10m", id="a space"),
    pytest.param("keep_alive", 5, "keep_alive cannot be 5", 'keep_alive = "10m"', id="a number"),
]


@pytest.mark.parametrize(("name", "value", "message", "hint"), BAD)
def test_a_bad_value_for_servers_is_refused_with_a_hint(
    tmp_path: Path, name: str, value: object, message: str, hint: str
) -> None:
    written = json.dumps(value) if not isinstance(value, dict) else "{ " + ", ".join(map(toml, value.items())) + " }"
    settings = LocalLLM()

    with pytest.raises(BadOption) as caught:
        settings.read_project(project(tmp_path, f"[tool.localllm]\n{name} = {written}\n"))

    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "5ec-ret" not in str(caught.value)
    assert settings.server_settings == ServerSettings()


@pytest.mark.parametrize(("name", "value", "message", "hint"), BAD)
def test_a_bad_value_leaves_the_setting_as_it_was(
    shell: InteractiveShell, config: LocalLLM, name: str, value: object, message: str, hint: str
) -> None:
    before = getattr(config, name)

    shell.run_cell(f"%config LocalLLM.{name} = {value!r}")
    shell.run_cell("%config LocalLLM.keep_alive = '5m'")

    assert getattr(config, name) == before if name != "keep_alive" else "5m"
    assert default_session().settings == ServerSettings(keep_alive="5m")


@pytest.mark.parametrize("value", ["", "300", "-1", "10m", "1h30m", "1.5h", "500ms"])
def test_a_time_is_written_as_ollama_reads_it(value: str) -> None:
    assert LocalLLM(keep_alive=value).server_settings.keep_alive == value


def test_settings_reach_the_servers_at_once(shell: InteractiveShell) -> None:
    shell.run_cell("%config LocalLLM.keep_alive = '7m'")

    assert default_session().settings.keep_alive == "7m"


def test_settings_of_a_profile_reach_the_servers(bare_shell: InteractiveShell) -> None:
    bare_shell.config.LocalLLM.keep_alive = "9m"

    load_ipython_extension(bare_shell)

    assert default_session().settings.keep_alive == "9m"


def test_limits_hold_at_once_and_end_with_the_extension(shell: InteractiveShell) -> None:
    shell.run_cell("%config LocalLLM.memory_limit = '8 GB'")
    shell.run_cell("%config LocalLLM.idle_ttl = 1800")
    limits = default_session().residency.limits
    shell.run_cell("%config LocalLLM.memory_limit = ''")
    changed = default_session().residency.limits
    unload_ipython_extension(shell)

    assert limits == Limits(memory_bytes=8 * 10**9, idle_seconds=1800)
    assert changed == Limits(idle_seconds=1800)
    assert default_session().residency.limits == Limits()


def test_limits_of_a_project_hold(bare_shell: InteractiveShell) -> None:
    Path("pyproject.toml").write_text('[tool.localllm]\nmemory-limit = "2 GiB"\nidle_ttl = "30m"\n')

    load_ipython_extension(bare_shell)

    assert default_session().residency.limits == Limits(memory_bytes=2 << 30, idle_seconds=1800)


@pytest.mark.parametrize(
    ("name", "value"),
    [("memory_limit", "much"), ("memory_limit", -1), ("memory_limit", 1.5), ("idle_ttl", "soon"), ("idle_ttl", None)],
)
def test_a_limit_that_is_none_changes_nothing(
    shell: InteractiveShell, config: LocalLLM, name: str, value: object
) -> None:
    shell.run_cell(f"%config LocalLLM.{name} = {value!r}")

    assert (getattr(config, name), default_session().residency.limits) == ("", Limits())


def test_a_key_is_never_shown(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_SERVER_KEY", "5ec-ret")
    shell.run_cell("%config LocalLLM.api_key_variables = {'http://127.0.0.1:9': 'MY_SERVER_KEY'}")

    shell.run_cell("%config LocalLLM")
    table = shell.run_line_magic("llm", "config")

    shown = f"{table}{table.to_markdown()}{capsys.readouterr().out}{default_session().settings!r}"
    assert "MY_SERVER_KEY" in shown
    assert "5ec-ret" not in shown


@pytest.mark.parametrize("value", ["off", "OFF", "0", "false", "no"])
def test_the_environment_can_forbid_streaming(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("LOCALLLM_STREAM", value)

    assert not LocalLLM().is_streaming
    assert LocalLLM().to_table().notes == (
        f"The environment has LOCALLLM_STREAM={value}, so only final outputs are shown.",
    )


def test_without_streaming_only_the_bundle_is_shown(
    shell: InteractiveShell,
    says: Callable[..., Model],
    displays: list[dict[str, object]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    says("Hi.")
    shell.run_cell("%config LocalLLM.stream = False")

    shell.run_cell_magic("llm", "", "Hello")

    assert [display["update"] for display in displays] == [False]
    assert capsys.readouterr().out == ""
