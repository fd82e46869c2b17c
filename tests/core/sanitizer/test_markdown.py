import re
import time
from collections.abc import Callable
from html.parser import HTMLParser

import mistune
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from nbconvert.filters import markdown2html

from localllm_magics.core.sanitizer.markdown import to_safe_markdown

DOLLAR = "<span>&#36;</span>"
PRICES = f"{DOLLAR}5, {DOLLAR}6 \\\\{DOLLAR}7 {DOLLAR}HOME/a:{DOLLAR}PATH {DOLLAR}8 for it{DOLLAR}"
KEPT = [
    pytest.param("# Title\n\nText with *emphasis*, **strength** and ~~regret~~.", id="emphasis"),
    pytest.param("- a\n  - b\n- [x] done\n\n1. c\n2) d\n\n> quoted\n\n***", id="lists-and-quotes"),
    pytest.param("| a | b |\n|---|:-:|\n| 1 | 2 |", id="table"),
    pytest.param("[text](https://a.org/b?c=1#d), [mail](mailto:me@a.org), [near](notebooks/a.ipynb)", id="links"),
    pytest.param("[text][1]\n\n[1]: https://a.org/b", id="reference"),
    pytest.param("See https://a.org/b_c and me@a.org.", id="bare-address"),
    pytest.param(
        "`code`, ``more``, `a[0](x)` and `f(x) != {y}`".replace("``", "`").replace("](", "] ("), id="code-span"
    ),
    pytest.param("```python\nif a < b and c['$x'] | d: `e` <b> \\href{} ![x](y)\n```", id="fence"),
    pytest.param("5 < 6, 1 <= 2, x <- y, R&D, AT&T; &lt;b&gt; &nbsp;&copy;", id="characters"),
    pytest.param("$x_1^2$ and $\\frac{a}{b}$ and $ y $", id="inline-math"),
    pytest.param("$$\n\\begin{aligned} a &= b \\\\ c &= d \\end{aligned}\n$$", id="display-math"),
    pytest.param('{"key": {"a": 1}} and {name}', id="braces"),
    pytest.param("", id="nothing"),
]
REWRITTEN = [
    pytest.param("<b x>y</b> <!-- y --> <?z", "&lt;b x>y&lt;/b> &lt;!-- y --> &lt;?z", id="tags"),
    pytest.param("![a](https://a.org/b.png)", "a (https://a.org/b.png)", id="image"),
    pytest.param(r"[!\[a](/b)](/c)", r"[&#33;\[a](/b)](/c)", id="escaped-image"),
    pytest.param("[a](javascript:alert)", r"[a]\(javascript:alert)", id="script-link"),
    pytest.param(
        "[a](java&#115;cript&colon;alert)", r"[a]\(java&amp;#115;cript&colon;alert)", id="disguised-script-link"
    ),
    pytest.param("[a](command:x) [b](data:,x)", r"[a]\(command:x) [b]\(data:,x)", id="other-schemes"),
    pytest.param("[a](\nhttps://a.org)", "[a]\\(\nhttps://a.org)", id="link-over-two-lines"),
    pytest.param('[a](<https://a.org/b c> "title")', "[a](https://a.org/b%20c)", id="title-dropped"),
    pytest.param('[a]($"onclick=x$)', "[a](%24%22onclick%3Dx%24)".replace("%3D", "="), id="math-in-a-target"),
    pytest.param("https://a.org/$b$@@0@@", "https://a.org/%24b%24%40%400%40%40", id="math-in-an-address"),
    pytest.param("<https://a.org/b>.", "[https://a.org/b](https://a.org/b).", id="autolink"),
    pytest.param("!<https://a.org/b>", "!&lt;https://a.org/b>", id="autolink-after-exclamation-mark"),
    pytest.param("[x]: javascript:y", "[x]&#58; javascript:y", id="script-definition"),
    pytest.param("[x]: /y 'z'\n\"z\"", '[x]: /y\n\n"z"', id="definition-with-titles"),
    pytest.param(
        "`<b>` `a|b` ``a`b``", "<code>&#60;b&#62;</code> <code>a&#124;b</code> <code>a&#96;b</code>", id="code"
    ),
    pytest.param("` a ` and `  `", "`a` and `  `", id="padded-code"),
    pytest.param(r"\`a and \\`c` and `", r"&#96;a and &#92;`c` and &#96;", id="unmatched-backticks"),
    pytest.param("https://a.org/`b`", "https://a.org/ `b`", id="code-after-an-address"),
    pytest.param(r"$\href{x}{y}$ \\def \cssId", "$＼href{x}{y}$ \\＼def ＼cssId", id="math-commands"),
    pytest.param("&#92;href &bsol;def &#x202e;", "&amp;#92;href &amp;bsol;def &amp;#x202e;", id="entities"),
    pytest.param(r"\(x<y\)\(z\) $\(w\)", f"$x< y$ $z$ {DOLLAR} $w$", id="round-brackets"),
    pytest.param("\\[\nx\n\\]", "$$\nx\n$$", id="square-brackets"),
    pytest.param(
        "a $$x$$ b $$ $$ c $$", f"a $x$ b {DOLLAR * 2} {DOLLAR * 2} c {DOLLAR * 2}", id="display-within-a-line"
    ),
    pytest.param("\\begin{a}\nx\n\\end{a}", "$$\n\\begin{a}\nx\n\\end{a}\n$$", id="environment"),
    pytest.param(r"$\begin{a}x$ \begin{b}", "$＼begin{a}x$ ＼begin{b}", id="open-environment"),
    pytest.param(r"$\begin x$", "$＼begin x$", id="nameless-environment"),
    pytest.param(r"$a\\[2pt] b\\[c]$", r"$a\\  b\\ [c]$", id="row-skip"),
    pytest.param("$$\nx\n\n$$", f"{DOLLAR * 2}\nx\n\n{DOLLAR * 2}", id="formula-broken-by-a-blank-line"),
    pytest.param("$$ a\n$$ b", f"{DOLLAR * 2} a\n{DOLLAR * 2} b", id="formula-begun-twice"),
    pytest.param("$$ `a` $$", f"{DOLLAR * 2} `a` {DOLLAR * 2}", id="code-in-a-formula"),
    pytest.param(r"\\[x\\] \\(y\\)", "&#92;[x&#92;] &#92;(y&#92;)", id="doubled-backslashes"),
    pytest.param("a \\[ x \\] b", "a $x$ b", id="square-brackets-within-a-line"),
    pytest.param("- a: \\[\n  x\n  \\], b\n  c", "- a:\n\n$$\nx\n$$\n\n, b\nc", id="square-brackets-after-words"),
    pytest.param("\\[ x\n\\].\n$$y$$,", "$$\nx.\n$$\n\n$$\ny,\n$$", id="punctuation-after-a-formula"),
    pytest.param("a \\[ b\n\nc", "a \\[ b\n\nc", id="bracket-without-an-end"),
    pytest.param("> $$x\n> y$$\nz", "$$\nx\ny\n$$\n\nz", id="formula-in-a-quote"),
    pytest.param("```", "```\n```", id="unclosed-fence"),
    pytest.param("~~~ {.py#$} x\n```\n~~~\nz", "````.py#\n```\n````\n\nz", id="tilde-fence"),
    pytest.param("```Mermaid\nx\n```\n```math\n```", "```text\nx\n```\n\n```text\n```", id="drawn-kinds"),
    pytest.param("a\n> ```\n> x\nb", "a\n\n```\nx\n```\n\nb", id="fence-in-a-quote-that-ends"),
    pytest.param(
        "1. a\n   ```\n   x\n     y\n   ```\n   b\n   - c\n2. d",
        "1. a\n\n```\nx\n  y\n```\n\nb\n- c\n2. d",
        id="fence-in-a-list",
    ),
    pytest.param("- ```\n\tx\n  ```", "```\nx\n```", id="fence-beside-its-bullet"),
    pytest.param("a\n\n    <b>\n\n    c\n\nd", "a\n\n```\n<b>\n\nc\n```\n\nd", id="indented-code"),
    pytest.param("- a\n\n    b\n\nc\n\n    d", "- a\n\n    b\n\nc\n\n```\nd\n```", id="indented-in-a-list"),
    pytest.param("---\na: b", "***\na: b", id="front-matter"),
    pytest.param(
        "a ~~~ b ::: c @@0@@", "a &#126;&#126;&#126; b &#58;&#58;&#58; c @&#64;0@&#64;", id="syntax-of-others"
    ),
    pytest.param("# a {onclick=x}", "# a &#123;onclick=x}", id="attributes"),
    pytest.param("$5, \\$6 \\\\$7 $HOME/a:$PATH $8 for it$", PRICES, id="dollars"),
    pytest.param(
        "5$ and 6$ are $x$, $7|$y$ &dollar;",
        f"5{DOLLAR} and 6{DOLLAR} are $x$, {DOLLAR}7|$y$ {DOLLAR}",
        id="prices-beside-math",
    ),
    pytest.param("${PATH} and ^a$ ${NP}$", f"{DOLLAR}{{PATH}} and ^a{DOLLAR} ${{NP}}$", id="variables"),
    pytest.param("[a $5](http://e.org/$b)", f"[a {DOLLAR}5](http://e.org/%24b)", id="dollars-in-a-link"),
    pytest.param(
        "H<SUB>2</SUB>O <kbd>`a`</kbd> | <b>c | </b> x<br/>y",
        "H<sub>2</sub>O <kbd>`a`</kbd> | <b>c | </b> x<br>y",
        id="inert-tags",
    ),
    pytest.param("<b>x <i>y</b> </u> \\<b>z", "<b>x &lt;i>y</b> &lt;/u> &lt;b>z", id="unpaired-tags"),
    pytest.param("<b>x `</b>`", "&lt;b>x <code>&#60;&#47;b&#62;</code>", id="tag-ended-in-code"),
    pytest.param("a\n- <br>\nb", "a\n- &nbsp;<br>\nb", id="tag-on-a-line-of-its-own"),
    pytest.param(
        "<details><summary>a</summary>\n\n> b\n\n</details>\nthe <details> tag",
        "<b>a</b>\n\n> b\n\n\nthe &lt;details> tag",
        id="folds",
    ),
    pytest.param("![](data:image/png;base64,AAAA) ![b][c]", "(data:image/png,…) [b][c]", id="other-images"),
    pytest.param("a\u2028b\x1b[31mc\u202ed", "a\nbcd", id="control"),
]
# Each of these was active in at least one renderer when it was not rewritten.
FRAGMENTS = """
    ` `` ``` ```` ~~~ $ $$ \\ \\\\( \\\\) \\\\[ \\\\] \\( \\) \\[ \\] \\begin{a} \\end{a} { } @@0@@ @\\@0@@ | > - 1. * #
    <img·src=x·onerror=alert(1)> <script>alert(1)</script> <b> </b> <!-- --> <div> < <a·href=" <?php <![CDATA[
    ![a](http://e.org/x.png) ![ [a](http://e.org/) [a](javascript:alert(1)) [a]( ]( ) [x] [x]: ]: http://e.org/
    [x]:·http://e.org/ [x]:·javascript:alert(1) www.e.org "onmouseover="alert(1)" "t" ' a 1 & &lt; &#92; &#96; + :::
    \\href{javascript:alert(1)}{x} \\def ```python ```mermaid <http://e.org> <javascript:alert(1)> \\` \\< \\! ! [ ] (
    [^1] [^1]: _ ** ~ ~~ x@e.org {onclick=1} .  : / \\$ \\$5
""".replace("\n", " ").split()
BLANKS = [" ", "  ", "    ", "\n", "\n", "\n\n", "\n\n", "\t", "\n> ", "\n- ", "\n|---|---|\n", "\n===\n", "\n---\n"]
PIECES = [fragment.replace("·", " ") for fragment in FRAGMENTS] + BLANKS * 3
HOSTILE = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
ATTACKS = [
    pytest.param("| `a | <img src=x> | b` |\n|---|---|---|", id="a-table-cuts-a-code-span"),
    pytest.param("$x `a$` `<img src=x>`", id="math-swallows-a-backtick"),
    pytest.param("`\\\\( ` x \\\\) `<img src=x>`", id="bracket-math-swallows-a-backtick"),
    pytest.param("$$\n\n```\n$$ <img src=x>\n```", id="math-swallows-a-fence"),
    pytest.param("\\begin{a}\n\n```\n\\end{a} <img src=x>\n```", id="an-environment-swallows-a-fence"),
    pytest.param("> ```\n> \\\\(\n> ```\n>\n> `\\\\)` <img src=x>", id="math-leaves-a-quoted-fence"),
    pytest.param("http://e.org/`a <img src=x>`", id="an-address-swallows-a-backtick"),
    pytest.param('[a]($"onclick=alert(1) x="$)', id="math-in-a-link-target"),
    pytest.param('$" onclick=alert(1) x="$ [a](@\\@0@@)', id="a-placeholder-in-a-link-target"),
    pytest.param('http://e.org/$"onclick=alert(1)$', id="math-in-a-bare-address"),
    pytest.param('a](http://e.org/)$"onclick=alert(1)$', id="math-after-half-a-link"),
    pytest.param('[x]: /y\n"$"onclick=alert(1) $"\n\n[x]', id="math-in-a-title"),
    pytest.param('```\\begin{a}"onclick="alert(1)\\end{a}\nx\n```', id="math-in-an-info-string"),
    pytest.param("$$\n<img src=x>\n![a](b) [c](javascript:x)\nhttp://e.org/\n$$", id="syntax-in-a-formula"),
]
RENDERERS: dict[str, Callable[[str], str]] = {}
ELEMENTS = frozenset(
    "a b blockquote br code del div em h1 h2 h3 h4 h5 h6 hr input li ol p pre s section span strong sup table tbody td"
    " th thead tr ul".split()
)
ATTRIBUTES = frozenset("align checked class disabled href id start style type".split())


@pytest.mark.parametrize("text", KEPT)
def test_ordinary_markdown_is_kept(text: str) -> None:
    assert to_safe_markdown(text) == text


@pytest.mark.parametrize(("text", "expected"), REWRITTEN)
def test_harmful_syntax_is_rewritten(text: str, expected: str) -> None:
    assert to_safe_markdown(text) == expected


@pytest.mark.parametrize("text", ATTACKS)
def test_attacks_fail(text: str) -> None:
    assert harm_in(to_safe_markdown(text)) == []


@pytest.mark.parametrize("text", ATTACKS)
def test_attacks_are_real(text: str) -> None:
    assert harm_in(text) != []


@settings(max_examples=200)
@given(HOSTILE)
def test_nothing_hostile_survives_in_any_renderer(text: str) -> None:
    once = to_safe_markdown(text)
    twice = to_safe_markdown(once)

    assert harm_in(once) == []
    assert harm_in(twice) == []


@settings(max_examples=200)
@given(HOSTILE)
def test_outside_code_blocks_no_harmful_syntax_is_left(text: str) -> None:
    prose = prose_of(to_safe_markdown(text))

    assert re.findall(r"<(?!/?(?:code|span|b|br)>)[A-Za-z/!?]|!\\*\[|`{3}|~{3}|\S\$\$|\$\$\S|@@|\\href", prose) == []
    assert re.findall(r"\]\([^)]*[$\\<\"`]", prose) == []


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]) | st.sampled_from("`~<>$\\[]!|\n")))
def test_code_blocks_keep_their_characters(code: str) -> None:
    fence = "`" * (code.count("`") + 3)
    token = MarkdownIt().parse(to_safe_markdown(f"text\n{fence}python\n{code}\n{fence}\ntext"))[3]

    assert (token.type, token.info, token.content) == ("fence", "python", f"{code}\n")


@pytest.mark.parametrize(
    "unit",
    "` `a ``b` \\` ![ $ $$ $a < \\ [ ]( ](a ](x:y) http://a](x:b) www. \\( { & @ <a *a _a - > <b> |- ![a](".split(),
)
@pytest.mark.parametrize("end", ["", "\n"], ids=["joined", "lines"])
def test_time_is_linear_in_the_length(unit: str, end: str) -> None:
    short, long = (seconds_for((unit + end) * length) for length in (250, 4_000))

    # A quadratic step would take 256 times as long; 16 is what linear is, and clocks are coarse.
    assert long < 64 * short + 0.02


def harm_in(markdown: str) -> list[str]:
    """What a page would get from the model, in any renderer, beyond what Markdown is for."""
    return [f"{name}: {harm}" for name, render in RENDERERS.items() for harm in _Page.harm_in(render(markdown))]


def prose_of(markdown: str) -> str:
    """The Markdown without the code blocks, as this package writes them."""
    return re.sub(r"^(`{3,})[\w+#.-]*\n(?:.*\n)*?\1$", "", markdown, flags=re.MULTILINE)


def seconds_for(text: str) -> float:
    """The least of several, for whatever else the process does is added to some."""
    return min(_seconds_once(text) for _ in range(5))


def _seconds_once(text: str) -> float:
    start = time.thread_time()
    to_safe_markdown(text)
    return time.thread_time() - start


def renderer(name: str) -> Callable[[Callable[[str], str]], Callable[[str], str]]:
    def keep(render: Callable[[str], str]) -> Callable[[str], str]:
        RENDERERS[name] = render
        return render

    return keep


@renderer("CommonMark")
def render_common_mark(markdown: str) -> str:
    return str(MarkdownIt("commonmark", {"html": True}).render(markdown))


@renderer("GitHub's tables")
def render_tables(markdown: str) -> str:
    return str(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))


@renderer("Mistune with bare addresses")
def render_mistune(markdown: str) -> str:
    plugins = ["table", "url", "strikethrough", "footnotes", "task_lists", "math"]
    return str(mistune.create_markdown(escape=False, plugins=plugins)(markdown))


@renderer("nbconvert")
def render_nbconvert(markdown: str) -> str:
    return str(markdown2html(markdown))


@renderer("JupyterLab's treatment of math")
def render_jupyterlab(markdown: str) -> str:
    text, formulas = _without_math(markdown)
    return re.sub(r"@@(\d+)@@", lambda found: dict(enumerate(formulas)).get(int(found[1]), ""), render_mistune(text))


def _without_math(text: str) -> tuple[str, list[str]]:
    """What removeMath of @jupyterlab/rendermime does before Markdown is read: @@0@@ in place of the first formula."""
    text = text.replace("~", "~T")
    for code in (r"(?ms)^(`{3,}|(?:~T){3,})[^`\n]*\n.*?^\1`*$", r"(?m)(^|[^\\])(`+)([^\n]*?[^`\n])\2(?!`)"):
        text = re.sub(code, lambda found: found[0].replace("$", "~D"), text)
    search = _MathSearch(text)
    return "".join(search.blocks).replace("~D", "$").replace("~T", "~"), search.formulas


_CLOSINGS = {"$": "$", "$$": "$$", "\\\\(": "\\\\)", "\\\\[": "\\\\]"}


class _MathSearch:
    _SPLIT = re.compile(r"(?i)(\$\$?|\\(?:begin|end)\{[a-z]*\*?\}|\\[{}$]|[{}]|(?:\n\s*)+|@@\d+@@|\\\\[()[\]])")

    def __init__(self, text: str) -> None:
        self.formulas: list[str] = []
        self.blocks = self._SPLIT.split(text)
        self._forget()
        for number in range(1, len(self.blocks), 2):
            if self.blocks[number].startswith("@"):
                self._extract(number, number)
            elif self._start < 0:
                self._open(number)
            else:
                self._go_on(number)
        if self._last >= 0:
            self._extract(self._start, self._last)

    def _forget(self) -> None:
        self._start = self._last = -1
        self._braces = 0

    def _open(self, number: int) -> None:
        block = self.blocks[number]
        if block in _CLOSINGS or block[1:6] == "begin":
            self._forget()
            self._start, self._closing = number, _CLOSINGS.get(block, f"\\end{block[6:]}")

    def _go_on(self, number: int) -> None:
        block = self.blocks[number]
        if block == self._closing and self._braces:
            self._last = number
        elif block == self._closing:
            self._extract(self._start, number)
            self._forget()
        elif re.search(r"\n.*\n", block):
            if self._last >= 0:
                self._extract(self._start, self._last)
            self._forget()
        else:
            self._braces = max(0, self._braces + (block == "{") - (block == "}"))

    def _extract(self, first: int, last: int) -> None:
        formula = "".join(self.blocks[first : last + 1])
        for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("~D", "$"), ("~T", "~")):
            formula = formula.replace(sign, entity)
        self.blocks[first : last + 1] = [f"@@{len(self.formulas)}@@", *[""] * (last - first)]
        self.formulas.append(formula)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.harm: list[str] = []
        self.depth = 0

    @classmethod
    def harm_in(cls, page: str) -> list[str]:
        parser = cls()
        parser.feed(page)
        parser.close()
        return parser.harm + ["<b> without an end"] * (parser.depth > 0)

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag == "b"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.depth += tag == "b"
        if tag not in ELEMENTS:
            self.harm.append(f"<{tag}>")
        for name, value in attrs:
            if name not in ATTRIBUTES or (name == "style" and not re.match(r"text-align: ?\w+;?$", value or "")):
                self.harm.append(f"{name}={value}")
            if name == "href" and re.match(r"(?!https?:|ftp:|mailto:)[^/?#]*:", value or ""):
                self.harm.append(f"{name}={value}")

    def handle_comment(self, data: str) -> None:
        self.harm.append(f"comment {data}")

    def handle_decl(self, decl: str) -> None:
        self.harm.append(f"declaration {decl}")

    def handle_pi(self, data: str) -> None:
        self.harm.append(f"instruction {data}")

    def unknown_decl(self, data: str) -> None:
        self.harm.append(f"declaration {data}")
