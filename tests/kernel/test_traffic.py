"""What a streamed answer costs on the wire."""

import json
from collections.abc import Iterator, Sequence

import pytest

from localllm_magics.core.sanitizer.control import strip_control
from tests.kernel.endless_model import RANDOM, write_endless_model
from tests.kernel.notebook_kernel import Cell, Kernel, Message

ENDLESS = f"endless.gguf --ctx 4096 --threads 1 {RANDOM}"
PROMPT = "Write at length."


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("traffic")
    write_endless_model(folder / "endless.gguf")
    with Kernel(folder) as running:
        yield running


def size(messages: Sequence[Message]) -> int:
    """Bytes of the contents, as they travel."""
    return sum(len(json.dumps(message.content, ensure_ascii=False).encode()) for message in messages)


def most_in_a_second(messages: Sequence[Message]) -> int:
    """The largest number of messages in any second."""
    times = [message.date.timestamp() for message in messages]
    return max(sum(start <= time < start + 1 for time in times) for start in times)


def answered(kernel: Kernel, code: str) -> Cell:
    id_ = kernel.start(code)
    kernel.wait(id_)
    return kernel.wait_for_final(id_)


@pytest.mark.parametrize("tokens", [200, 1000])
@pytest.mark.parametrize(
    "code",
    [
        pytest.param("%%llm {options}\n{prompt}", id="a cell"),
        pytest.param("%llm ask -m {options} {prompt}", id="a line"),
        pytest.param("%%llm {options} -b\n{prompt}", id="in the background"),
    ],
)
def test_it_grows_with_the_text_and_the_time(kernel: Kernel, code: str, tokens: int) -> None:
    cell = answered(kernel, code.format(options=f"{ENDLESS} -n {tokens}", prompt=PROMPT))

    text, seconds = cell.document["text"], cell.document["stats"]["total_seconds"]
    allowed = 6 * len(text.encode()) + 4_000 * seconds + 20_000
    print(f"{size(cell.messages):,} of {allowed:,.0f} bytes")  # noqa: T201 - for who reads the report
    assert cell.document["stats"]["completion_tokens"] == tokens
    assert size(cell.messages) <= allowed
    assert most_in_a_second(cell.messages) <= 25
    assert "update_display_data" in cell.kinds


def test_appended_text_is_never_repeated(kernel: Kernel) -> None:
    kernel.do('%config LocalLLM.card = "text"')
    cell = answered(kernel, f"%%llm {ENDLESS} -n 1000\n{PROMPT}")
    kernel.do('%config LocalLLM.card = "markdown"')

    assert cell.kinds.count("stream") > 1
    assert cell.stdout.rstrip() == strip_control(cell.document["text"]).rstrip()
