"""Settings come from pyproject.toml and from %config."""

from collections.abc import Callable
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics import load_ipython_extension
from localllm_magics.core.errors import BadOption, ModelNotFound
from localllm_magics.model import Model
from localllm_magics.notebook.config import LocalLLM


def project(folder: Path, text: str) -> Path:
    (folder / "pyproject.toml").write_text(text, "utf-8")
    return folder


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
        pytest.param("[tool.localllm]\nzzz = 1\n", "There are default_model, stream.", id="unknown"),
        pytest.param('[tool.localllm]\nstream = "no"\n', "Write stream = True, for example.", id="wrong type"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadOption) as caught:
        LocalLLM().read_project(project(tmp_path, text))

    assert "[tool.localllm] in pyproject.toml" in caught.value.message
    assert caught.value.hint == message


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

    assert table.rows[0][::3] == ("default_model", "%config LocalLLM.default_model = 'demo'")
    assert all(all(row) for row in table.rows)


@pytest.mark.parametrize("value", ["off", "OFF", "0", "false", "no"])
def test_the_environment_can_forbid_streaming(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("LOCALLLM_STREAM", value)

    assert not LocalLLM().is_streaming


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
