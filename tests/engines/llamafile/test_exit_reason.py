import pytest

from localllm_magics.engines.llamafile.exit_reason import exit_error, is_port_taken


@pytest.mark.parametrize(
    ("status", "line", "reason"),
    [
        pytest.param(1, "error loading model: unknown model architecture: 'x'", "not know the architecture", id="new"),
        pytest.param(1, "E srv start: couldn't bind HTTP server socket", "port was taken", id="port"),
        pytest.param(1, "ggml_backend_cpu: failed to allocate buffer of size 9", "not enough memory", id="memory"),
        pytest.param(1, "CUDA error: out of memory", "not enough memory", id="memory of a GPU"),
        pytest.param(-9, "loading", "not enough memory, perhaps", id="killed"),
        pytest.param(126, "x: 12: /home/ada/.ape-1.10: Permission denied", "may run from the folder", id="noexec"),
        pytest.param(1, "run-detectors: unable to find an interpreter", "WINE", id="WINE"),
        pytest.param(2, "sh: x: Exec format error", "another kind of machine", id="machine"),
        pytest.param(1, "error: invalid argument: --what", "one of its arguments", id="argument"),
        pytest.param(1, "llama_model_load_from_file_impl: failed to load model", "not load its model", id="damaged"),
    ],
)
def test_the_log_shows_why_a_server_ended(status: int, line: str, reason: str) -> None:
    error = exit_error("x.llamafile", status, ["first", line])

    assert reason in error.message.split("\n")[0]
    assert error.message.split("\n")[1:] == ["  first", f"  {line}"]
    assert error.hint


@pytest.mark.parametrize(
    ("status", "message"),
    [
        pytest.param(3, "x exited with status 3 before it answered.", id="exit"),
        pytest.param(-11, "x was killed by signal 11 before it answered.", id="signal"),
    ],
)
def test_a_log_without_words_leaves_the_status(status: int, message: str) -> None:
    assert exit_error("x", status, []).message == message


def test_the_last_lines_are_shown() -> None:
    error = exit_error("x", 1, [str(number) for number in range(9)])

    assert error.message.split("\n")[1:] == ["  4", "  5", "  6", "  7", "  8"]


@pytest.mark.parametrize(("line", "taken"), [("bind: Address already in use", True), ("listening", False)])
def test_a_port_that_is_taken_is_known(line: str, taken: bool) -> None:
    assert is_port_taken(["first", line]) is taken
