"""Options are read with shell quoting, and what is wrong with one is said with the way out."""

import pytest

from localllm_magics.core.errors import BadOption
from localllm_magics.core.messages import Message
from localllm_magics.notebook.ask import to_question
from localllm_magics.notebook.options import ASKING, LOADING, Option, asks_not_to_raise, parse


@pytest.mark.parametrize(
    ("line", "values", "words"),
    [
        pytest.param("", {}, (), id="nothing"),
        pytest.param("  demo\t ", {}, ("demo",), id="blanks around"),
        pytest.param("demo -n 5", {"max_tokens": 5}, ("demo",), id="after the model"),
        pytest.param("-n 5 demo", {"max_tokens": 5}, ("demo",), id="before the model"),
        pytest.param("--max-tokens=5", {"max_tokens": 5}, (), id="with an equals sign"),
        pytest.param("-n=5", {"max_tokens": 5}, (), id="short, with an equals sign"),
        pytest.param('--stop=a=b --stop "c d"', {"stop": ("a=b", "c d")}, (), id="repeatable"),
        pytest.param("-s 'Be brief.' --raw", {"system": "Be brief.", "raw": True}, (), id="single quotes"),
        pytest.param('-s "It\'s \\"so\\"."', {"system": 'It\'s "so".'}, (), id="quotes in quotes"),
        pytest.param('-s "# no comment"', {"system": "# no comment"}, (), id="a quoted hash"),
        pytest.param("-s #1", {"system": "#1"}, (), id="a hash"),
        pytest.param("--system=''", {"system": ""}, (), id="an empty value"),
        pytest.param("-s ''", {"system": ""}, (), id="an empty word"),
        pytest.param("'' demo", {}, ("", "demo"), id="an empty word first"),
        pytest.param('"my model.gguf"', {}, ("my model.gguf",), id="a quoted model"),
        pytest.param(r"my\ model.gguf", {}, ("my model.gguf",), id="a blank after a backslash"),
        pytest.param("-t -1", {"temperature": -1.0}, (), id="a negative number"),
        pytest.param("-t -.5", {"temperature": -0.5}, (), id="a negative fraction"),
        pytest.param("-s -x", {"system": "-x"}, (), id="a value like an option"),
        pytest.param("-- --raw -n", {}, ("--raw", "-n"), id="after two dashes"),
        pytest.param("- -5", {}, ("-", "-5"), id="a dash and a number"),
        pytest.param("--gpu-layers all", {"gpu_layers": "all"}, (), id="all layers"),
        pytest.param("--gpu-layers 12", {"gpu_layers": 12}, (), id="some layers"),
        pytest.param("-b --dry-run", {"background": True, "dry_run": True}, (), id="switches"),
        pytest.param("größe-模型.gguf", {}, ("größe-模型.gguf",), id="letters of the world"),
    ],
)
def test_a_line_is_read(line: str, values: dict[str, object], words: tuple[str, ...]) -> None:
    parsed = parse(line, ASKING)

    assert (parsed.values, parsed.words) == (values, words)


@pytest.mark.parametrize(
    ("line", "values", "text"),
    [
        pytest.param("Why?", {}, "Why?", id="text only"),
        pytest.param("-t 0 Why is it?", {"temperature": 0.0}, "Why is it?", id="an option before"),
        pytest.param("What's new? It's -t 5", {}, "What's new? It's -t 5", id="apostrophes"),
        pytest.param('-n 5 say "hi  there', {"max_tokens": 5}, 'say "hi  there', id="one quotation mark"),
        pytest.param("-n 5 -1 is what?", {"max_tokens": 5}, "-1 is what?", id="a number below zero first"),
        pytest.param("-t 0 -- -n is what?", {"temperature": 0.0}, "-n is what?", id="after two dashes"),
        pytest.param("-t 0 -- What's -- it?", {"temperature": 0.0}, "What's -- it?", id="two dashes twice"),
        pytest.param(r"-t 0 C:\new # 1", {"temperature": 0.0}, r"C:\new # 1", id="a backslash and a hash"),
        pytest.param("-o x {{ n }}  two  blanks", {"out": "x"}, "{{ n }}  two  blanks", id="blanks inside"),
        pytest.param("-s 'a b'Why", {"system": "a bWhy"}, "", id="no blank after a quote"),
        pytest.param("-t 0 'quoted' text", {"temperature": 0.0}, "'quoted' text", id="a quoted word first"),
        pytest.param("--", {}, "", id="two dashes only"),
    ],
)
def test_text_is_taken_as_it_stands(line: str, values: dict[str, object], text: str) -> None:
    parsed = parse(line, ASKING, takes_text=True)

    assert (parsed.values, parsed.text, parsed.words) == (values, text, ())


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        pytest.param("--temprature 1", "There is no option --temprature.", "Did you mean --temperature?", id="unknown"),
        pytest.param(
            "--max_tokens 1", "There is no option --max_tokens.", "Did you mean --max-tokens?", id="underline"
        ),
        pytest.param("-x", "There is no option -x.", "Did you mean --ctx?", id="unknown, short"),
        pytest.param(
            "--zzzz=1", "There is no option --zzzz.", "Known options: -m, --model, ", id="unknown, nothing near"
        ),
        pytest.param("-n", "-n needs a value, N.", "Try -n 64.", id="no value"),
        pytest.param("--stop", "--stop needs a value, TEXT.", 'Try --stop "END".', id="no text"),
        pytest.param("-n  ", "-n needs a value, N.", "Try -n 64.", id="no value but blanks"),
        pytest.param("-t abc", "-t cannot be 'abc'.", "Try -t 0.8.", id="no number"),
        pytest.param("-n 1.5", "-n cannot be '1.5'.", "Try -n 64.", id="no whole number"),
        pytest.param("--ctx=", "--ctx cannot be ''.", "Try --ctx 4096.", id="an empty number"),
        pytest.param("--gpu-layers some", "--gpu-layers cannot be 'some'.", "Try --gpu-layers auto.", id="no layers"),
        pytest.param("--raw=yes", "--raw takes no value.", "Write --raw alone.", id="a switch with a value"),
        pytest.param("-t 1 -t 2", "-t is given twice.", "Leave one out.", id="twice"),
        pytest.param("-t 1 --temperature=2", "--temperature is given twice.", "Leave one out.", id="twice, both names"),
        pytest.param("--raw --raw", "--raw is given twice.", "Leave one out.", id="a switch twice"),
        pytest.param("-s 'Be", "A quotation mark is not closed: -s 'Be", "Add the second one.", id="an open quote"),
    ],
)
def test_a_wrong_line_is_refused(line: str, message: str, hint: str) -> None:
    with pytest.raises(BadOption) as caught:
        parse(line, ASKING)

    assert caught.value.message == message
    assert caught.value.hint.startswith(hint)


def test_an_option_of_a_command_without_options_is_refused() -> None:
    with pytest.raises(BadOption) as caught:
        parse("--bogus", ())

    assert caught.value.hint == "Leave it out; this command takes no options."


@pytest.mark.parametrize(
    ("line", "stop"),
    [
        pytest.param(r'--stop "\n"', "\n", id="in double quotes"),
        pytest.param(r"--stop '\n'", "\n", id="in single quotes"),
        pytest.param(r"--stop='\r\n\tEND'", "\r\n\tEND", id="several"),
        pytest.param(r"--stop 'C:\\new'", r"C:\new", id="a backslash"),
        pytest.param(r"--stop '\d\'", r"\d" + "\\", id="another backslash"),
        pytest.param("--stop größe", "größe", id="letters of the world"),
    ],
)
def test_a_stop_text_may_have_escapes(line: str, stop: str) -> None:
    assert parse(line, ASKING).get("stop") == (stop,)


def test_other_values_have_no_escapes() -> None:
    assert parse(r"-s '\n'", ASKING).get("system") == r"\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("", False, id="nothing"),
        pytest.param("demo -n 5", False, id="other options"),
        pytest.param("--no-raise", True, id="alone"),
        pytest.param("-n 5 --no-raise", True, id="last"),
        pytest.param("--no-raise -n", True, id="before a missing value"),
        pytest.param("-n abc --no-raise", True, id="after a wrong value"),
        pytest.param("-n -1 --no-raise", True, id="after a negative value"),
        pytest.param("--raw --no-raise", True, id="after a switch"),
        pytest.param("--raw=1 --no-raise", True, id="after a switch with a value"),
        pytest.param("--no-raise=1", True, id="with a value"),
        pytest.param("--bogus 1 --no-raise", True, id="after an unknown option and its value"),
        pytest.param("--bogus --no-raise", True, id="after an unknown option"),
        pytest.param('--no-raise -s "Be', True, id="before an open quote"),
        pytest.param('-s "Be --no-raise', False, id="in an open quote"),
        pytest.param("-s --no-raise", False, id="as a value"),
        pytest.param("--stop=--no-raise", False, id="as an attached value"),
        pytest.param('-s "is --no-raise set"', False, id="in a quoted value"),
        pytest.param("-- --no-raise", False, id="after two dashes"),
        pytest.param("--no-raised", False, id="another word"),
        pytest.param("-n", False, id="a missing value"),
    ],
)
@pytest.mark.parametrize("takes_text", [False, True])
def test_an_error_is_kept_from_raising_by_the_option_alone(line: str, takes_text: bool, expected: bool) -> None:
    assert asks_not_to_raise(line, ASKING, takes_text=takes_text) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("why is --no-raise {{ nope }}?", False, id="in the text"),
        pytest.param("--no-raise why is it?", True, id="before the text"),
        pytest.param("-s 'Be brief.' --no-raise It's", True, id="before an apostrophe"),
        pytest.param("--bogus 1 --no-raise why?", True, id="after a mistake"),
        pytest.param("--raw why --no-raise", False, id="in the text after a switch"),
    ],
)
def test_a_text_does_not_keep_an_error_from_raising(line: str, expected: bool) -> None:
    assert asks_not_to_raise(line, ASKING, takes_text=True) == expected


def test_an_error_is_kept_from_raising_by_an_option_after_the_model() -> None:
    assert asks_not_to_raise("demo -n 5 --no-raise", ASKING)


def test_a_command_that_does_not_know_no_raise_raises() -> None:
    assert not asks_not_to_raise("nope --no-raise", LOADING)


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
        pytest.param("--out 1x", "--out cannot be '1x'.", id="no name"),
        pytest.param("--out class", "--out cannot be 'class'.", id="a word of Python's"),
        pytest.param("--code -b", "--code cannot be used with --background.", id="options that exclude each other"),
        pytest.param("-s x --raw", "--raw continues one text", id="a system prompt without a template"),
    ],
)
def test_a_value_out_of_range_is_refused(line: str, message: str) -> None:
    with pytest.raises(BadOption) as caught:
        to_question(parse(line, ASKING), "Why?")

    assert caught.value.message.startswith(message)


def test_all_options_reach_the_question() -> None:
    line = (
        "-m demo -o answer -s Brief -n 5 -t 0 --top-k 1 --top-p .5 --min-p 0 --repeat-penalty 1.1 --seed 7 --stop END"
    )
    parsed = parse(f"{line} --ctx 512 --gpu-layers 0 --threads 2 --no-vars --code --no-raise", ASKING)

    question = to_question(parsed, "Why?")

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
        to_question(parse("", ASKING), prompt)


def test_a_model_given_twice_is_refused() -> None:
    with pytest.raises(BadOption, match="The model is given twice"):
        to_question(parse("-m demo", ASKING), "Why?", "demo")


@pytest.mark.parametrize("option", ASKING, ids=lambda option: option.flags[-1])
def test_every_example_works(option: Option) -> None:
    line = f"{option.flags[-1]} {option.example}" if option.metavar else option.flags[-1]

    question = to_question(parse(line, ASKING), "Why?")

    assert question.request.messages[-1].text == "Why?"


def test_no_flag_is_declared_twice() -> None:
    flags = [flag for option in ASKING for flag in option.flags]

    assert sorted(set(flags)) == sorted(flags)
