"""Options are read with shell quoting, and what is wrong with one is said with the way out."""

import pytest

from localllm_magics.notebook.options import ASKING, LOADING
from localllm_magics.notebook.parser import parse


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
        pytest.param("--temp 0 --max=3", {"temperature": 0.0, "max_tokens": 3}, (), id="the beginnings of names"),
        pytest.param("--think", {"think": True}, (), id="a name that others begin with"),
        pytest.param("-n5 -t0.2", {"max_tokens": 5, "temperature": 0.2}, (), id="attached"),
        pytest.param("-oanswer -mdemo", {"out": "answer", "model": "demo"}, (), id="attached words"),
        pytest.param("-t-1", {"temperature": -1.0}, (), id="an attached number below zero"),
        pytest.param("-bn5", {"background": True, "max_tokens": 5}, (), id="a switch and an option"),
        pytest.param("-bo x", {"background": True, "out": "x"}, (), id="a switch and an option with its value apart"),
        pytest.param(r"models\tiny.gguf", {}, (r"models\tiny.gguf",), id="a path of Windows"),
        pytest.param(r"C:\Users\me\x.gguf", {}, (r"C:\Users\me\x.gguf",), id="a whole path of Windows"),
        pytest.param(r'"C:\my models\x.gguf"', {}, (r"C:\my models\x.gguf",), id="a quoted path of Windows"),
        pytest.param(r"\\server\share\x.gguf", {}, (r"\\server\share\x.gguf",), id="a share of Windows"),
        pytest.param(r'demo "\\server\my share\x"', {}, ("demo", r"\\server\my share\x"), id="a quoted share"),
        pytest.param(r"new\\x.gguf \\n", {}, (r"new\x.gguf", r"\n"), id="an escaped backslash"),
        pytest.param("–n 3 —temp 0", {"max_tokens": 3, "temperature": 0.0}, (), id="dashes of a word processor"),
        pytest.param("−n5 —", {"max_tokens": 5}, ("—",), id="a minus sign and a dash alone"),
        pytest.param(r"--stop \n", {"stop": ("\n",)}, (), id="an escape without quotation marks"),
        pytest.param("demo\\", {}, ("demo\\",), id="a backslash at the end"),
        pytest.param("--gpu-layers all", {"gpu_layers": "all"}, (), id="all layers"),
        pytest.param("--gpu-layers 12", {"gpu_layers": 12}, (), id="some layers"),
        pytest.param("--cpu-moe", {"cpu_moe": "all"}, (), id="a value left out at the end"),
        pytest.param("--cpu-moe demo", {"cpu_moe": "all"}, ("demo",), id="a value left out before a word"),
        pytest.param(
            "--cpu-moe --force", {"cpu_moe": "all", "force": True}, (), id="a value left out before an option"
        ),
        pytest.param("--cpu-moe 'demo", {"cpu_moe": "all"}, (), id="a value left out before an open quote"),
        pytest.param("--cpu-moe 12 demo", {"cpu_moe": 12}, ("demo",), id="a value that may be left out"),
        pytest.param("--cpu-moe '12'", {"cpu_moe": 12}, (), id="a quoted value that may be left out"),
        pytest.param("--cpu-moe=all", {"cpu_moe": "all"}, (), id="a value that may be left out, attached"),
        pytest.param("--kv-type q8_0", {"kv_type": "q8_0"}, (), id="a type"),
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
        pytest.param("--cpu-moe Why?", {"cpu_moe": "all"}, "Why?", id="a value left out"),
        pytest.param("-o x {{ n }}  two  blanks", {"out": "x"}, "{{ n }}  two  blanks", id="blanks inside"),
        pytest.param("-s 'a b'Why", {"system": "a bWhy"}, "", id="no blank after a quote"),
        pytest.param("-t 0 'quoted' text", {"temperature": 0.0}, "'quoted' text", id="a quoted word first"),
        pytest.param("--", {}, "", id="two dashes only"),
        pytest.param("—Hola —dijo", {}, "—Hola —dijo", id="a dash that begins what somebody says"),
    ],
)
def test_text_is_taken_as_it_stands(line: str, values: dict[str, object], text: str) -> None:
    parsed = parse(line, ASKING, takes_text=True)

    assert (parsed.values, parsed.text, parsed.words) == (values, text, ())


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        pytest.param(
            "--cpu-moe=some", "--cpu-moe cannot be 'some'.", "Try --cpu-moe all.", id="wrong, may be left out"
        ),
        pytest.param("--n-cpu-moe 4", "There is no option --n-cpu-moe.", "Did you mean --cpu-moe?", id="llama.cpp's"),
        pytest.param("-ctk q8_0", "There is no option -ctk.", "Did you mean --kv-type?", id="llama.cpp's, short"),
        pytest.param("--temprature 1", "There is no option --temprature.", "Did you mean --temperature?", id="unknown"),
        pytest.param(
            "--max_tokens 1", "There is no option --max_tokens.", "Did you mean --max-tokens?", id="underline"
        ),
        pytest.param("-dash.gguf", "There is no option -dash.gguf.", "If it is a file, write ./-dash", id="a file"),
        pytest.param("-x", "There is no option -x.", "Known options: -m, --model, ", id="unknown, short"),
        pytest.param("--zzzz 1 --yyyy", "There is no option --zzzz.", "Known options: ", id="unknown, with a value"),
        pytest.param("-N 5", "There is no option -N.", "Did you mean -n?", id="a capital"),
        pytest.param("--tmperature 1", "There is no option --tmperature.", "Did you mean --temperature?", id="a slip"),
        pytest.param("-temp 1", "There is no option -temp.", "Did you mean --temperature?", id="one dash too few"),
        pytest.param("-sytem x", "There is no option -sytem.", "Did you mean --system?", id="that and a slip"),
        pytest.param("-ngl 99", "There is no option -ngl.", "Did you mean --gpu-layers?", id="llama.cpp's layers"),
        pytest.param("--n-predict 9", "There is no option --n-predict.", "Did you mean --max-tokens?", id="its length"),
        pytest.param("--ctx-size 9", "There is no option --ctx-size.", "Did you mean --ctx?", id="its context"),
        pytest.param("-tb 9", "There is no option -tb.", "Did you mean --threads?", id="its threads"),
        pytest.param("--num_ctx 9", "There is no option --num_ctx.", "Did you mean --ctx?", id="Ollama's context"),
        pytest.param("--n-pred 9", "There is no option --n-pred.", "Did you mean --max-tokens?", id="the start of one"),
        pytest.param("-p hi", "There is no option -p.", "Write the prompt below", id="the prompt as an option"),
        pytest.param("--top 1", "--top can mean --top-k or --top-p.", "Write one of them.", id="two meanings"),
        pytest.param("-n5x", "-n cannot be '5x'.", "Try -n 64.", id="attached, no number"),
        pytest.param("-bz", "There is no option -z.", "Known options: ", id="unknown, after a switch"),
        pytest.param("-bb", "-b is given twice.", "Leave one out.", id="a switch twice, attached"),
        pytest.param(
            "-s it's", "A quotation mark is not closed: -s it's", "Add the second one. A text", id="apostrophe"
        ),
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
        pytest.param("--out 1x", "--out cannot be '1x'.", "Try --out answer.", id="no name"),
        pytest.param("-o class", "-o cannot be 'class'.", "Try -o answer.", id="a word of Python's"),
        pytest.param("--code -b", "--code cannot be used with --background.", "Leave one of", id="together"),
        pytest.param("-b --code", "--code cannot be used with --background.", "Leave one of", id="in the other order"),
        pytest.param("--no-think --think", "--think cannot be used with --no-think.", "Leave one of", id="yes and no"),
        pytest.param("-s 'Be", "A quotation mark is not closed: -s 'Be", "Add the second one.", id="an open quote"),
    ],
)
def test_a_wrong_line_is_refused(line: str, message: str, hint: str) -> None:
    error = parse(line, ASKING).error

    assert error is not None
    assert error.message == message
    assert error.hint.startswith(hint)


def test_an_option_of_a_command_without_options_is_refused() -> None:
    error = parse("--bogus", ()).error

    assert error is not None
    assert error.hint == "Leave it out; this command takes no options."


@pytest.mark.parametrize(
    ("line", "quoted"),
    [
        pytest.param("demo -s You are a pirate", '-s "You are a pirate"', id="a system prompt"),
        pytest.param("--system=Be brief -n 5", '--system "Be brief"', id="attached"),
        pytest.param("-n 5 --stop THE END", '--stop "THE END"', id="a stop text"),
        pytest.param("-s 'Be brief.' demo", "", id="a quoted text"),
        pytest.param("--system='Be brief.' demo", "", id="quoted, attached"),
        pytest.param("-s Brief -n 5 demo", "", id="an option between"),
        pytest.param("-s Brief --raw demo", "", id="a switch between"),
        pytest.param("-n 5 demo", "", id="a number"),
        pytest.param("demo other", "", id="no option"),
    ],
)
def test_a_text_without_quotation_marks_is_shown_with_them(line: str, quoted: str) -> None:
    hint = parse(line, ASKING).quoting_hint

    assert hint == (f"A text of several words goes into quotation marks: {quoted}" if quoted else "")


def test_the_first_of_several_mistakes_is_named() -> None:
    error = parse("-n x --bogus -t 1 -t 2", ASKING).error

    assert error is not None
    assert error.message == "-n cannot be 'x'."


@pytest.mark.parametrize(
    ("line", "name"),
    [
        pytest.param("demo -n 5 -t", "temperature", id="last"),
        pytest.param("demo -t=", None, id="an empty value"),
        pytest.param("demo --raw", None, id="a switch"),
    ],
)
def test_the_option_that_lacks_its_value_is_named(line: str, name: str | None) -> None:
    option = parse(line, ASKING).open_option

    assert (option and option.name) == name


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
    assert parse(line, ASKING).values["stop"] == (stop,)


def test_other_values_have_no_escapes() -> None:
    assert parse(r"-s '\n'", ASKING).values["system"] == r"\n"


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
    assert ("no_raise" in parse(line, ASKING, takes_text=takes_text).values) == expected


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
    assert ("no_raise" in parse(line, ASKING, takes_text=True).values) == expected


def test_an_error_is_kept_from_raising_by_an_option_after_the_model() -> None:
    assert "no_raise" in parse("demo -n 5 --no-raise", ASKING).values


def test_a_command_that_does_not_know_no_raise_raises() -> None:
    assert parse("nope --no-raise", LOADING).values == {}
