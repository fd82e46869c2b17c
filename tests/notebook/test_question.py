"""The options of a line make a question."""

from dataclasses import replace

import pytest

from localllm_magics.core.errors import BadOption
from localllm_magics.core.messages import Message
from localllm_magics.notebook.options import ASKING, Option
from localllm_magics.notebook.parser import Parsed, parse
from localllm_magics.notebook.question import to_question


def ask(line: str, prompt: str = "Why?") -> Parsed:
    return replace(parse(line, ASKING), text=prompt)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("-t -1", "--temperature must be 0 or more, not -1.0.", id="temperature"),
        pytest.param("-t nan", "--temperature must be 0 or more, not nan.", id="no number at all"),
        pytest.param("-n 0", "--max-tokens must be a whole number, 1 or more, not 0.", id="no tokens"),
        pytest.param("--top-p 3", "--top-p must be from 0 to 1, not 3.0.", id="top-p"),
        pytest.param("--min-p -1", "--min-p must be from 0 to 1, not -1.0.", id="min-p"),
        pytest.param("--ctx 0", "--ctx must be 1 or more, not 0.", id="no context"),
        pytest.param("--threads 0", "--threads must be from 1 to 512, not 0.", id="no threads"),
        pytest.param("--gpu-layers -1", "--gpu-layers must be 0 or more, auto or all, not -1.", id="layers"),
        pytest.param("--stop ''", "--stop must be a text that is not empty.", id="an empty stop"),
        pytest.param("-s x --raw", "--raw continues one text", id="a system prompt without a template"),
    ],
)
def test_a_value_out_of_range_is_refused(line: str, message: str) -> None:
    with pytest.raises(BadOption) as caught:
        to_question(ask(line))

    assert caught.value.message.startswith(message)


def test_all_options_reach_the_question() -> None:
    line = (
        "-m demo -o answer -s Brief -n 5 -t 0 --top-k 1 --top-p .5 --min-p 0 --repeat-penalty 1.1 --seed 7 --stop END"
    )
    parsed = ask(f"{line} --ctx 512 --gpu-layers 0 --threads 2 --no-vars --code --no-raise")

    question = to_question(parsed)

    request, sampling, load = question.request, question.request.sampling, question.load
    assert request.messages == (Message.from_text("system", "Brief"), Message.from_text("user", "Why?"))
    assert (sampling.max_tokens, sampling.temperature, sampling.seed, sampling.stop) == (5, 0.0, 7, ("END",))
    assert (sampling.top_k, sampling.top_p, sampling.min_p, sampling.repeat_penalty) == (1, 0.5, 0.0, 1.1)
    assert (load.ctx, load.gpu_layers, load.threads) == (512, 0, 2)
    assert (question.model, question.out, question.wants_code, question.has_vars) == ("demo", "answer", True, False)
    assert (question.raises, question.in_background) == (False, False)


@pytest.mark.parametrize("prompt", ["", "  \n\t"])
def test_an_empty_prompt_is_refused(prompt: str) -> None:
    with pytest.raises(BadOption, match="The prompt is empty"):
        to_question(ask("", prompt))


def test_a_model_given_twice_is_refused() -> None:
    with pytest.raises(BadOption, match="The model is given twice"):
        to_question(ask("-m demo demo"))


@pytest.mark.parametrize("option", ASKING, ids=lambda option: option.flags[-1])
def test_every_example_works(option: Option) -> None:
    line = f"{option.flags[-1]} {option.example}" if option.metavar else option.flags[-1]

    question = to_question(ask(line))

    assert question.request.messages[-1].text == "Why?"
