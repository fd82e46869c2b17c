import os
from pathlib import Path

import pytest

from localllm_magics.core.errors import LoadFailed, LocalLLMError, ModelNotFound
from localllm_magics.core.request import LoadOptions
from localllm_magics.engines.llamafile.program import arguments_for, command_for, environment_for, is_before_0_10
from tests.engines.llamafile.programs import write_program
from tests.processes import is_gone


@pytest.mark.parametrize(
    ("start", "shell"),
    [
        pytest.param(b"MZqFpD='\n", ["/bin/sh"], id="usual"),
        pytest.param(b"jartsr='\n", ["/bin/sh"], id="other"),
        pytest.param(b"\x7fELF\x02", [], id="made a program of Linux"),
        pytest.param(b"#!/bin/sh\n", [], id="script"),
    ],
)
def test_a_shell_starts_what_the_system_does_not_know(tmp_path: Path, start: bytes, shell: list[str]) -> None:
    file = tmp_path / "x"
    file.write_bytes(start)
    file.chmod(0o755)

    assert command_for(file) == [*shell, str(file)]


def test_a_llamafile_inherits_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ("LOCALLLM_API_KEY", "MY_SERVER_KEY", "HF_TOKEN", "Some_Password")
    for name in (*secrets, "KEYBOARD", "TOKENIZERS"):
        monkeypatch.setenv(name, "x")

    environment = environment_for("its own")

    assert environment["LLAMA_API_KEY"] == "its own"
    assert not environment.keys() & set(secrets)
    assert environment.keys() >= {"KEYBOARD", "TOKENIZERS", "PATH"}
    assert "LLAMA_API_KEY" not in environment_for()


def test_a_name_is_no_option_and_not_searched_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-c").write_bytes(b"MZqFpD='\n")

    assert command_for(Path("-c")) == ["/bin/sh", str(tmp_path / "-c")]


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        pytest.param(b"GGUF\3\0\0\0", "%llm load ", id="GGUF"),
        pytest.param(b"", "`%llm models`", id="empty"),
        pytest.param(b"MZ\x90\0", "`%llm models`", id="a program of Windows"),
        pytest.param(b"PK\3\4", "`%llm models`", id="zip"),
    ],
)
def test_what_is_no_program_is_not_started(tmp_path: Path, content: bytes, hint: str) -> None:
    file = tmp_path / "x"
    file.write_bytes(content)
    file.chmod(0o755)

    with pytest.raises(LoadFailed) as caught:
        command_for(file)
    assert caught.value.message == "x is not a llamafile: it is not a program."
    assert caught.value.hint.startswith(hint)


def test_a_program_that_may_not_be_run_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "my x"
    file.write_bytes(b"\x7fELF")

    with pytest.raises(LoadFailed) as caught:
        command_for(file)
    assert caught.value.message == "my x may not be run."
    assert caught.value.hint == f"!chmod +x '{file}'"


def test_on_windows_the_hint_is_how_to_start_it_by_hand(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed) as caught:
        command_for(tmp_path / "x.exe", system="nt")
    assert "x.exe --server" in caught.value.hint


def test_what_is_not_there_or_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    errors: list[type[LocalLLMError]] = []
    for file in (tmp_path / "missing", tmp_path, loop, pipe, tmp_path / "a\0b"):
        with pytest.raises(LocalLLMError) as caught:
            command_for(file)
        errors.append(caught.type)
    assert errors == [ModelNotFound, LoadFailed, LoadFailed, LoadFailed, LoadFailed]


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        pytest.param(LoadOptions(), "", id="nothing"),
        pytest.param(LoadOptions(ctx=512, gpu_layers=3, threads=2), "-c 512 -ngl 3 -t 2", id="numbers"),
        pytest.param(LoadOptions(gpu_layers=0), "-ngl 0", id="none on the GPU"),
        pytest.param(LoadOptions(gpu_layers="all"), "-ngl 999", id="all"),
        pytest.param(LoadOptions(gpu_layers="auto"), "", id="auto"),
        pytest.param(LoadOptions(cpu_moe="all", kv_type="q8_0"), "--cpu-moe -ctk q8_0 -ctv q8_0", id="experts"),
        pytest.param(LoadOptions(cpu_moe=4, force=True), "--n-cpu-moe 4", id="experts of some layers"),
    ],
)
def test_options_become_arguments(options: LoadOptions, arguments: str) -> None:
    assert arguments_for(options) == arguments.split()


@pytest.mark.parametrize(
    ("answer", "is_old"),
    [
        pytest.param("echo llamafile v0.9.3", True, id="0.9"),
        pytest.param("echo llamafile v0.8.17 >&2", True, id="0.8, on the other channel"),
        pytest.param("echo llamafile v0.10.4", False, id="0.10"),
        pytest.param("echo llamafile v1.0.0", False, id="1.0"),
        pytest.param("exit 1", False, id="nothing"),
        pytest.param("echo llamafile", False, id="no number"),
    ],
)
def test_the_age_is_found_by_the_version(tmp_path: Path, answer: str, is_old: bool) -> None:
    program = tmp_path / "x"
    program.write_text(f"#!/bin/sh\n{answer}\n")
    program.chmod(0o755)

    assert is_before_0_10([str(program)], tmp_path / "log") is is_old


def test_a_program_that_does_not_report_its_version_is_not_waited_for(tmp_path: Path) -> None:
    program = tmp_path / "x"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)

    assert not is_before_0_10([str(program)], tmp_path / "log", seconds=0.1)


def test_what_a_program_started_to_report_its_version_does_not_stay(tmp_path: Path) -> None:
    program, log = tmp_path / "x", tmp_path / "log"
    program.write_text("#!/bin/sh\nsleep 1000 &\necho $!\n")
    program.chmod(0o755)

    is_before_0_10([str(program)], log)

    assert is_gone(int(log.read_text()))


def test_a_program_that_cannot_be_run_is_not_old(tmp_path: Path) -> None:
    assert not is_before_0_10([str(tmp_path / "missing")], tmp_path / "log")


def test_a_version_after_much_output_is_not_found(tmp_path: Path) -> None:
    program = write_program(tmp_path / "x", "")
    program.write_text("#!/bin/sh\nhead -c 1000000 /dev/zero\necho llamafile v0.9.3\n")

    assert not is_before_0_10([str(program)], tmp_path / "log")
