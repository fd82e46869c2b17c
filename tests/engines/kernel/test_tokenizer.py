import subprocess
import sys
from pathlib import Path

import pytest

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.llama_model import LlamaModel
from localllm_magics.engines.kernel.loaded_model import LoadedModel
from localllm_magics.engines.kernel.tokenizer import Tokenizer
from tests.engines.kernel.random_model import LONG_WORD, write_random_model

FLAGS = {"add_special": False, "parse_special": False}


@pytest.fixture
def tokenizer(loaded: LoadedModel) -> Tokenizer:
    return loaded.tokenizer


def to_text(tokenizer: Tokenizer, tokens: list[int], *, special: bool = False) -> str:
    return b"".join(tokenizer.token_to_piece(token, special=special) for token in tokens).decode("utf-8", "replace")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Hello, world!", id="plain"),
        pytest.param("Grüße, 日本, 🦙", id="unicode"),
        pytest.param("a\n\n  b\tc", id="white space"),
        pytest.param("x" * 5000, id="long word"),
        pytest.param("a\x00b", id="zero"),
        pytest.param("".join(map(chr, range(1, 127))), id="more tokens than half the bytes"),
    ],
)
def test_tokens_hold_the_text(tokenizer: Tokenizer, text: str) -> None:
    tokens = tokenizer.tokenize(text, add_special=False, parse_special=False)

    assert to_text(tokenizer, tokens).removeprefix(" ") == text
    assert all(0 <= token < tokenizer.size for token in tokens)


REGEX = """
import sys, threading
from pathlib import Path

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.library import library
from localllm_magics.engines.kernel.tokenizer import Tokenizer
from localllm_magics.engines.kernel.llama_model import LlamaModel

model = LlamaModel(library(), Path(sys.argv[1]), PlanSettings(context=512), stop=Stop())
tokenizer = Tokenizer(library(), model.pointer)


def count():
    tokens = tokenizer.tokenize("x" * 100_000, add_special=False, parse_special=False)
    print(len(tokens) > 1000, threading.stack_size())


worker = threading.Thread(target=count)
worker.start()
worker.join()
"""


def test_a_long_word_kills_no_tokenizer_with_regular_expressions(tmp_path: Path) -> None:
    path = write_random_model(tmp_path / "regex.gguf", {"tokenizer.ggml.pre": "deepseek-v3"})

    result = subprocess.run([sys.executable, "-c", REGEX, str(path)], capture_output=True, text=True, check=False)

    assert (result.returncode, result.stdout) == (0, "True 0\n")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory cannot be limited")
def test_a_text_for_which_there_is_no_stack_is_refused(tmp_path: Path, demo: ModelInfo) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))"
    program = f"{REGEX.partition('def count')[0]}{limit}\ntokenizer.tokenize({'x' * 9!r} * 1_000_000, **{FLAGS})"

    result = subprocess.run(
        [sys.executable, "-c", program, str(demo.path)], capture_output=True, text=True, check=False
    )

    assert "NotEnoughMemory: To tokenize a text of 9,000,000 characters takes a stack of 9.2 GB." in result.stderr


def test_lone_surrogates_become_question_marks(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.tokenize("a\ud800b", add_special=False, parse_special=False)

    assert tokens == tokenizer.tokenize("a?b", add_special=False, parse_special=False)


def test_the_end_token_ends_and_others_do_not(tokenizer: Tokenizer) -> None:
    ends = [token for token in range(tokenizer.size) if tokenizer.is_eog(token)]

    assert 1 <= len(ends) < 10
    assert tokenizer.eos in [tokenizer.token_to_piece(token, special=True).decode() for token in ends]


def test_special_tokens_are_read_as_such_only_if_wanted(tokenizer: Tokenizer) -> None:
    text = tokenizer.eos

    read = tokenizer.tokenize(text, add_special=False, parse_special=True)
    spelled = tokenizer.tokenize(text, add_special=False, parse_special=False)

    assert len(read) == 1
    assert tokenizer.is_eog(read[0])
    assert len(spelled) > 1
    assert to_text(tokenizer, read) == ""
    assert to_text(tokenizer, read, special=True) == text


def test_every_token_has_bytes_or_is_special(tokenizer: Tokenizer) -> None:
    pieces = [tokenizer.token_to_piece(token, special=True) for token in range(tokenizer.size)]

    assert [token for token, piece in enumerate(pieces) if not piece] == []


def test_a_word_may_be_of_any_length(lib: Library, random_model: Path) -> None:
    model = LlamaModel(lib, random_model, PlanSettings(context=512), stop=Stop())
    tokenizer = Tokenizer(lib, model.pointer)

    pieces = [tokenizer.token_to_piece(LONG_WORD), tokenizer.token_to_piece(LONG_WORD)]

    assert pieces == [b"x" * 1000] * 2
    model.close()
