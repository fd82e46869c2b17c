"""What is left of a question that went wrong: the card ends, and the model before it stays."""

import _thread
import signal
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from types import SimpleNamespace

import pytest
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics import demo, load
from localllm_magics.core.completion import FinishReason
from localllm_magics.core.errors import BadExpression, BadOption, InternalError, LocalLLMError, NotEnoughMemory
from localllm_magics.core.events import ProgressEvent, TextDelta
from localllm_magics.core.generation import Generation
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop
from localllm_magics.model import Model
from localllm_magics.notebook.config import LocalLLM
from localllm_magics.session import default_session
from localllm_magics.testing import ScriptedEngine
from tests.server.waiting import wait_until

Says = Callable[..., Model]


@pytest.fixture
def odd(tmp_path: Path, shell: InteractiveShell) -> str:
    """A file that llama.cpp cannot load; the shell runs beside it."""
    data = demo.PATH.read_bytes()
    (tmp_path / "odd.gguf").write_bytes(data.replace(b"output_norm.weight", b"output_none.weight"))
    return "odd.gguf"


def run(shell: InteractiveShell, line: str, prompt: str = "Why?") -> object:
    return shell.run_cell_magic("llm", line, prompt)


@pytest.mark.parametrize("line", ["odd.gguf", "--dry-run odd.gguf"], ids=["a question", "a dry run"])
def test_a_model_that_cannot_be_loaded_does_not_become_current(
    shell: InteractiveShell, says: Says, odd: str, line: str
) -> None:
    model = says("Hi.")

    with pytest.raises(LocalLLMError):
        run(shell, line)

    assert default_session().current is model
    assert odd not in [used.info.reference for used in default_session().models]


@pytest.mark.parametrize(
    ("line", "default"),
    [("http://me:secret@127.0.0.1:9", "demo"), ("", "openai:m@http://me:secret@127.0.0.1:9")],
    ids=["typed", "set"],
)
def test_no_password_is_saved(
    shell: InteractiveShell, config: LocalLLM, displays: list[dict[str, object]], line: str, default: str
) -> None:
    config.default_model = default

    run(shell, f"{line} --no-raise")

    assert "no password" in str(displays)
    assert "secret" not in str(displays)
    assert "secret" not in repr(shell.user_ns["_llm"])


def test_nor_does_one_in_the_background(
    shell: InteractiveShell, says: Says, odd: str, displays: list[dict[str, object]]
) -> None:
    model = says("Hi.")

    run(shell, f"-b {odd}")
    wait_until(lambda: len(displays) > 0 and default_session().current is model, "given up")

    assert "failed" in str(displays[-1])


def test_an_option_that_does_not_fit_leaves_the_model_as_it_was(shell: InteractiveShell) -> None:
    model = load("demo", ctx=256)

    with pytest.raises(NotEnoughMemory):
        run(shell, "demo --ctx 99999999")

    assert default_session().current is model
    assert model.complete("Why?", max_tokens=2).model.context == 256


def test_another_option_loads_the_same_model_and_says_so(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load("demo", ctx=256)

    run(shell, "demo --ctx 512 -n 2")
    asked = shell.user_ns["_llm"]
    run(shell, "-n 2")
    again = shell.user_ns["_llm"]
    shell.run_line_magic("llm", "load demo")
    run(shell, "demo -n 2")

    assert (asked.notices, asked.model.context) == (("Reloaded with --ctx 512.",), 512)
    assert again.notices == ("`--ctx 512`, as loaded before; `%llm load demo` goes back to the defaults.",)
    assert "Reloaded with the defaults.\n" in capsys.readouterr().out
    assert (shell.user_ns["_llm"].notices, model.options) == ((), LoadOptions())


def test_an_expression_that_wants_to_exit_is_a_bad_one(shell: InteractiveShell, says: Says) -> None:
    says("Hi.")
    shell.push({"leave": sys.exit})

    with pytest.raises(BadExpression):
        run(shell, "", "{{ leave() }}")

    assert shell.user_ns["_llm"].state == "failed"


def test_whatever_ends_the_cell_ends_the_card(shell: InteractiveShell, says: Says) -> None:
    says("one two three", hangs_after=2)

    def leave(*_: object) -> None:
        raise SystemExit

    def leave_in_generation() -> None:
        wait_until(lambda: any(stream.generation.text == "one two" for stream in default_session().running), "hanging")
        _thread.interrupt_main(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        threading.Thread(target=leave_in_generation).start()
        with pytest.raises(SystemExit):
            run(shell, "-o answer")
    finally:
        signal.signal(signal.SIGTERM, before)

    assert (shell.user_ns["answer"].state, shell.user_ns["answer"].text) == ("stopped", "one two")
    assert default_session().running == ()


@pytest.fixture
def broken(shell: InteractiveShell, config: LocalLLM) -> list[object]:
    """What the shell displays, of which the first output fails."""
    outputs: list[object] = []

    def publish(data: object, **_: object) -> None:
        outputs.append(data)
        if len(outputs) == 1:
            raise OSError("the pipe is broken")

    config.stream = False
    shell.display_pub = SimpleNamespace(publish=publish)  # type: ignore[assignment] # all that is used of it
    return outputs


def test_what_nobody_foresaw_ends_the_card(shell: InteractiveShell, says: Says, broken: list[object]) -> None:
    says("Hi.")

    with pytest.raises(InternalError, match="the pipe is broken") as caught:
        run(shell, "")

    assert isinstance(caught.value.__cause__, OSError)
    assert "failed" in str(broken[-1])
    assert shell.user_ns["_llm"].error.kind == "internal_error"
    assert default_session().running == ()


def test_and_in_the_background_too(shell: InteractiveShell, says: Says, broken: list[object]) -> None:
    says("Hi.")

    assert run(shell, "-b") is None
    wait_until(lambda: "_llm" in shell.user_ns, "an answer")

    assert "the pipe is broken" in str(broken[-1])
    assert shell.user_ns["_llm"].error.kind == "internal_error"


@pytest.mark.parametrize("line", ["-o answer", "--no-raise -o answer"])
def test_an_answer_that_cannot_be_shown_is_bound_all_the_same(
    shell: InteractiveShell, says: Says, config: LocalLLM, line: str
) -> None:
    def publish(*_: object, **__: object) -> None:
        raise OSError("the pipe is broken")

    config.stream = False
    model = says("Hi.")
    shell.display_pub = SimpleNamespace(publish=publish)  # type: ignore[assignment] # all that is used of it

    with pytest.raises(OSError, match="the pipe is broken"):
        run(shell, line)

    assert (shell.user_ns["answer"].text, shell.user_ns["answer"].state) == ("Hi.", "failed")
    assert shell.user_ns["_llm"] is shell.user_ns["answer"] is default_session().last("scripted")
    assert default_session().current is model
    assert default_session().running == ()


class StubbornEngine(ScriptedEngine):
    """Sees that it should stop, but does not before it is RELEASED."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_to_stop = threading.Event()
        self.released = threading.Event()

    def stream(self, generation: Generation, stop: Stop) -> Generator[ProgressEvent, None, FinishReason]:
        yield TextDelta("one", 1)
        stop.wait(None)
        self.asked_to_stop.set()
        self.released.wait()
        return "stopped"


def test_an_interrupt_while_the_engine_is_stopped_ends_the_card(shell: InteractiveShell) -> None:
    engine = StubbornEngine()
    default_session().add(Model(engine, ModelInfo(reference="stubborn", name="stubborn", source="bundled")))

    def leave(*_: object) -> None:
        raise SystemExit

    def leave_and_interrupt() -> None:
        wait_until(lambda: any(stream.generation.text == "one" for stream in default_session().running), "an answer")
        _thread.interrupt_main(signal.SIGTERM)
        engine.asked_to_stop.wait()
        _thread.interrupt_main()

    before = signal.signal(signal.SIGTERM, leave)
    try:
        threading.Thread(target=leave_and_interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            run(shell, "-o answer")
    finally:
        signal.signal(signal.SIGTERM, before)
        engine.released.set()

    assert (shell.user_ns["answer"].state, shell.user_ns["answer"].text) == ("stopped", "one")


def test_the_first_code_block_goes_into_the_next_cell(
    shell: InteractiveShell, says: Says, capsys: pytest.CaptureFixture[str]
) -> None:
    says("So:\n~~~python\nx = 1\n\n~~~\n```\ny = 2\n```", "Hi.")

    run(shell, "--code")
    run(shell, "--code")

    assert shell.rl_next_input == "x = 1"
    assert capsys.readouterr().out.endswith("The answer has no code block, so no cell was made.\n")


def test_a_code_block_in_a_list_loses_its_indentation(shell: InteractiveShell, says: Says) -> None:
    says("1. So:\n\n   ```python\n   if x:\n       y\n   ```\n")

    run(shell, "--code")

    assert shell.rl_next_input == "if x:\n    y"


def test_a_code_block_without_an_end_makes_no_cell(
    shell: InteractiveShell, says: Says, capsys: pytest.CaptureFixture[str]
) -> None:
    says("So:\n```python\nx = 1")

    run(shell, "--code")

    assert not hasattr(shell, "rl_next_input")
    assert capsys.readouterr().out.endswith("The code block of the answer is not complete, so no cell was made.\n")


def test_a_wrong_option_that_is_forgiven_leaves_a_failed_card(
    shell: InteractiveShell, says: Says, displays: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    says("Hi.")
    monkeypatch.setenv("LOCALLLM_STREAM", "off")

    assert run(shell, "--no-raise --top-p 3") is None

    assert shell.user_ns["_llm"].error.kind == "bad_option"
    assert len(displays) == 1
    assert "--top-p must be from 0 to 1, not 3.0." in str(displays[0])


def test_a_wrong_option_raises(shell: InteractiveShell) -> None:
    with pytest.raises(BadOption):
        run(shell, "--top-p 3", "How does --no-raise work?")


def test_braces_can_be_left_as_they_are(shell: InteractiveShell, engine: ScriptedEngine) -> None:
    run(shell, "--no-vars", "{{ undefined }}")

    assert engine.requests[0].messages[-1].text == "{{ undefined }}"


def test_what_a_background_answer_is_bound_to_is_there_at_once(shell: InteractiveShell, says: Says) -> None:
    says("one two three", hangs_after=2)

    run(shell, "-b -o first")
    pending = shell.user_ns["first"]
    shell.run_line_magic("llm", "stop")
    completion = pending.wait()
    wait_until(lambda: shell.user_ns["first"] is completion, "the completion")

    assert (completion.text, pending.text, completion.wait()) == ("one two", "one two", completion)


def test_a_variable_that_was_bound_anew_is_left_alone(shell: InteractiveShell, says: Says) -> None:
    says("one two three", hangs_after=2)

    run(shell, "-b -o first")
    pending = shell.user_ns["first"]
    shell.user_ns["first"] = 5
    shell.run_line_magic("llm", "stop")
    pending.wait()
    wait_until(lambda: shell.user_ns.get("_llm") is pending.wait(), "the end")

    assert shell.user_ns["first"] == 5


def test_an_answer_that_cannot_begin_is_bound_too(shell: InteractiveShell) -> None:
    with pytest.raises(BadExpression):
        run(shell, "-b -o first", "{{ undefined }}")

    assert shell.user_ns["first"].state == "failed"


def test_a_prompt_waits_for_the_answer_in_it(shell: InteractiveShell, engine: ScriptedEngine) -> None:
    run(shell, "-b -o first")
    run(shell, "", "So: {{ first }}")

    assert engine.requests[-1].messages[-1].text == "So: Hi."
