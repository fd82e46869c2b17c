import io
from contextlib import redirect_stdout

import pytest
from IPython.lib.pretty import pretty

from localllm_magics.core.table import Table, shortened, to_count, to_size, unbroken

TABLE = Table(
    title="Models",
    headers=("Name", "Size"),
    rows=(("demo", "3.3 MB"), ("a-long-name", "14.0 GB"), ("本", "")),
    notes=("One is missing.",),
)


def test_a_table_is_aligned_text() -> None:
    assert str(TABLE).splitlines() == [
        "Models",
        "",
        "Name            Size",
        "-----------  -------",
        "demo          3.3 MB",
        "a-long-name  14.0 GB",
        "本",
        "",
        "One is missing.",
    ]


def test_a_table_is_markdown() -> None:
    assert TABLE.to_markdown().splitlines() == [
        "**Models**",
        "",
        "| Name | Size |",
        "| --- | ---: |",
        "| demo | 3.3\u00a0MB |",
        "| a-long-name | 14.0\u00a0GB |",
        "| 本 |  |",
        "",
        "One is missing.",
    ]


def test_a_table_without_rows_has_headers() -> None:
    table = Table(headers=("Name", "Size"), rows=())

    assert str(table) == "Name  Size\n----  ----"
    assert table.to_markdown() == "| Name | Size |\n| --- | --- |"


def test_ipython_shows_the_text_and_the_markdown() -> None:
    shown: str = pretty(TABLE)

    assert shown == repr(TABLE) == str(TABLE)
    assert TABLE._repr_markdown_() == TABLE.to_markdown()


WIDE = Table(
    headers=("Part", "Found", "To change it"),
    rows=(
        ("Server", "nothing listens at http://127.0.0.1:11434", "ollama serve"),
        ("", "", ""),
        ("", "", "to install it, see https://ollama.com/about"),
    ),
)


def test_cells_are_wrapped_between_words_where_a_table_is_too_wide() -> None:
    assert WIDE.to_text(60).splitlines() == [
        "Part    Found                      To change it",
        "------  -------------------------  -------------------------",
        "Server  nothing listens at         ollama serve",
        "        http://127.0.0.1:11434",
        "",
        "                                   to install it, see",
        "                                   https://ollama.com/about",
    ]


@pytest.mark.parametrize("width", [None, 100, 94])
def test_a_table_that_fits_is_not_wrapped(width: int | None) -> None:
    assert len(WIDE.to_text(width).splitlines()) == 5


def test_no_column_is_narrowed_so_far_that_it_is_hard_to_read() -> None:
    table = Table(headers=("a", "b"), rows=((30 * "x ", ""),))

    assert [len(line) for line in table.to_text(1).splitlines()[1:3]] == [20 + 2 + 1, 19]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stdout", "width"), [(Terminal(), 60), (io.StringIO(), None)], ids=["terminal", "pipe"])
def test_only_a_terminal_is_narrow(monkeypatch: pytest.MonkeyPatch, stdout: io.StringIO, width: int | None) -> None:
    monkeypatch.setenv("COLUMNS", "60")

    with redirect_stdout(stdout):
        shown: str = pretty(WIDE)

    assert shown == WIDE.to_text(width)


def test_wide_and_combining_letters_keep_the_columns() -> None:
    lines = str(Table(headers=("a", "b"), rows=(("本本", "x"), ("e\u0301", "y")))).splitlines()

    assert lines[2:] == ["本本  x", "e\u0301     y"]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        pytest.param("a\nb\tc", "a b c", id="line ends"),
        pytest.param("\x1b[2J", "\\x1b[2J", id="terminal command"),
        pytest.param("a\u202eb", "a\\u202eb", id="reversed text"),
        pytest.param("a\udcffb", "a\\udcffb", id="file name without an encoding"),
        pytest.param("a\u00a0b", "a b", id="hard space"),
        pytest.param("\U0001f469\u200d\U0001f4bb", "\U0001f469\u200d\U0001f4bb", id="joined emoji"),
        pytest.param("a\u200db", "a\\u200db", id="joined letters"),
        pytest.param("`*_|<", "`*_|<", id="Markdown"),
    ],
)
def test_control_characters_are_visible_in_text(cell: str, text: str) -> None:
    assert str(Table(headers=("h",), rows=((cell,),))).splitlines()[2] == text


@pytest.mark.parametrize(
    ("cell", "markdown"),
    [
        pytest.param("a|b", "a&#124;b", id="pipe"),
        pytest.param("a\nb", "a b", id="line end"),
        pytest.param("`a|<b>` `c", "<code>a&#124;&#60;b&#62;</code> &#96;c", id="code"),
        pytest.param("<img src=x>", "&#60;img src=x&#62;", id="HTML"),
        pytest.param("![a](b)", "!&#91;a&#93;(b)", id="image"),
        pytest.param("*a* ~~b~~", "&#42;a&#42; &#126;&#126;b&#126;&#126;", id="emphasis"),
        pytest.param("Q4_K_M", "Q4_K_M", id="underscores in a word"),
        pytest.param("__a__", "&#95;&#95;a&#95;&#95;", id="underscores around a word"),
        pytest.param(r"\(a\)", "&#92;(a&#92;)", id="backslash"),
        pytest.param("$a$ &amp;", "<span>&#36;</span>a<span>&#36;</span> &#38;amp;", id="math and entity"),
        pytest.param("# a", "&#35; a", id="heading"),
        pytest.param("- a", "&#45; a", id="list"),
        pytest.param("1. a", "1&#46; a", id="numbered list"),
        pytest.param("3.3 m.", "3.3 m.", id="number"),
    ],
)
def test_markdown_shows_a_cell_and_does_nothing(cell: str, markdown: str) -> None:
    table = Table(headers=(cell,), rows=((cell,), ("text",)), title=cell, notes=(cell,))

    assert table.to_markdown().split("\n") == [
        f"**{markdown}**",
        "",
        f"| {markdown} |",
        "| --- |",
        f"| {markdown} |",
        "| text |",
        "",
        markdown,
    ]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, ""),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (3_312_736, "3.3 MB"),
        (999_960, "1.0 MB"),
        (4_100_000_000, "4.1 GB"),
    ],
)
def test_sizes_are_short(size: int | None, text: str) -> None:
    assert to_size(size) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, ""), (0, "0"), (128, "128"), (3_049_920, "3.0 M"), (7_241_732_096, "7.2 B"), (2 * 10**21, "2000000.0 Q")],
)
def test_counts_are_short(count: int | None, text: str) -> None:
    assert to_count(count) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("3.2 MB of 8.0 GB", "3.2\u00a0MB of 8.0\u00a0GB", id="sizes"),
        pytest.param("7.2 B", "7.2\u00a0B", id="a count"),
        pytest.param("≈ 14 tok/s", "≈ 14\u00a0tok/s", id="a rate"),
        pytest.param("2 Books", "2 Books", id="a word"),
    ],
)
def test_a_number_stays_beside_its_unit(text: str, expected: str) -> None:
    assert unbroken(text) == expected


def test_a_long_name_loses_its_middle() -> None:
    assert shortened(60 * "a") == 60 * "a"
    assert shortened(50 * "a" + 50 * "b") == 30 * "a" + "…" + 29 * "b"
