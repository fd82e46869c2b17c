import pytest

from localllm_magics.core.sanitizer.tex import complete_tex, is_drawable, sanitize_tex

_REDEFINING = """
    DeclareMathOperator* DeclarePairedDelimiter DeclarePairedDelimiters DeclarePairedDelimiterX
    DeclarePairedDelimitersX DeclarePairedDelimiterXPP DeclareDocumentCommand NewDocumentCommand Newextarrow
    ProvideDocumentCommand RenewDocumentCommand def definecolor gdef let mathtoolsset newcommand newenvironment
    newtagform providecommand renewcommand renewenvironment renewtagform require usetagform xdef
"""


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        pytest.param(r"\rule{5cm}{0.4pt} a\hspace{2em}b\kern-1mu c", None, id="small-lengths-stay"),
        pytest.param(r"\genfrac{(}{)}{0pt}{}{n}{k} \text{200 mm} 900 cm", None, id="numbers-with-units-stay"),
        pytest.param(r"\genfrac{[}{]}{}{}{n}{k} \genfrac{1em}{}{3pt}{}{n}{k}", None, id="genfrac-with-any-lengths"),
        pytest.param(r"\rule{10000em}{10000em}", r"\rule{0em}{0em}", id="rule"),
        pytest.param(r"\rule[-5em]{1em}{1,5em}", r"\rule[0em]{1em}{1,5em}", id="lowered-rule"),
        pytest.param(r"\Rule{1em}{90em}{1em}", r"\Rule{1em}{0em}{1em}", id="rule-with-depth"),
        pytest.param(r"x\raise{20em}{y}\lower 9em z", r"x\raise{0em}{y}\lower 0em z", id="raised"),
        pytest.param(r"\hspace*{9in}\kern-60em", r"\hspace*{0in}\kern0em", id="shifted"),
        pytest.param(r"\kern9em" * 4, r"\kern9em" * 2 + r"\kern0em" * 2, id="many-small-ones"),
        pytest.param(r"\!" * 12, r"\!" * 10 + "  ", id="backwards"),
        pytest.param(r"\rule%{1em}{9em} \above x", r"＼rule%{1em}{9em} ＼above x", id="lengths-elsewhere"),
        pytest.param(r"\rule{9999999999em}{1em}", r"＼rule{9999999999em}{1em}", id="endless-number"),
        pytest.param(r"a \\*[ 90em ] b \\[1 pt]c", r"a \\  b \\ c", id="row-skips"),
        pytest.param(r"\smash[b]{x}\mathllap{long}\rlap{/}D", r" {x} {long}\rlap{/}D", id="hidden-sizes"),
        pytest.param(r"\Huge\Huge\large x", r"\Huge   x", id="sizes"),
        pytest.param(r"\begin{multlined}[t][90em]\end{multlined}", r"\begin{multlined}\end{multlined}", id="widths"),
        pytest.param(
            r"\begin{spreadlines}{90em}\end{spreadlines}", r"\begin{spreadlines}{0em}\end{spreadlines}", id="spread"
        ),
        pytest.param(r"\enclose{box}[data-thickness=300em] {x}", r"\enclose{box} {x}", id="enclose"),
        pytest.param("\\enclose {box}\n[data-padding=9]\ufeff[a]x", r"\enclose {box} x", id="enclose-with-space"),
        pytest.param(r"\enclose{box {}}[data-padding=9em]{x}", r"＼enclose{box {}}[data-padding=9em]{x}", id="hidden"),
        pytest.param(r"\enclose{circle}{x} \cancel{x}[y]", None, id="no-options"),
        pytest.param(r"\cancel[data-padding=500em]{x}\xcancel [[a]y", r"\cancel{x}\xcancel y", id="cancel"),
        pytest.param(r"\cancelto[data-padding=500em]{x}{y}", r"\cancelto{x}{y}", id="cancelto"),
        pytest.param(r"\overbracket[300em][300]{x}\underbracket[9]x", r"\overbracket{x}\underbracket x", id="brackets"),
        pytest.param(r"\shoveleft[500em]{x}\shoveright[9]{x}", r"\shoveleft{x}\shoveright{x}", id="shoves"),
        pytest.param(r"\begin {multlined}[{]}90em]x", r"＼begin {multlined}}90em]x", id="widths-with-space"),
        pytest.param(r"\begin{multlined}\label{a}[9em]\end{multlined}", r"\begin{multlined}\end{multlined}", id="late"),
        pytest.param(r"\Huge\cancel\Huge[data-padding=9em]{x}", r"\Huge\cancel{x}", id="size-before-options"),
        pytest.param(r"x\\*[500\label{a}em]y", r"x\\ y", id="label-in-a-row-skip"),
        pytest.param(r"\begin {spreadlines}90em", r"＼begin {spreadlines}{0em}90em", id="spread-without-braces"),
        pytest.param(
            "\\kern\t500em\\hspace *{500em}\\kern\ufeff9em", "\\kern\t0em\\hspace *{0em}＼kern\ufeff9em", id="tabs"
        ),
        pytest.param(r"\skew{7}\hat{A} \sqrt[\uproot{-2}\leftroot2 3]{x}", None, id="small-numbers"),
        pytest.param(
            r"\skew{900}\hat{A}\skew{1em\kern9}xy\sqrt[\uproot{-9999}\leftroot{99}3]{x}",
            r"＼skew{900}\hat{A}＼skew{1em＼kern9}xy\sqrt[＼uproot{-9999}＼leftroot{99}3]{x}",
            id="large-numbers",
        ),
        pytest.param(r"\smashoperator[lr]{\sum}\crampedllap{long}", r" {\sum} {long}", id="other-hidden-sizes"),
        pytest.param(r"x\label{a} \newtagform{b}", r"x  ＼newtagform{b}", id="labels"),
    ],
)
def test_lengths_are_bounded(tex: str, expected: str | None) -> None:
    assert sanitize_tex(tex) == (tex if expected is None else expected)


@pytest.mark.parametrize("command", _REDEFINING.split())
def test_nothing_is_redefined_for_the_page(command: str) -> None:
    assert sanitize_tex(rf"\{command}{{\red}}{{x}}") == rf"＼{command}{{\red}}{{x}}"


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        pytest.param("", True, id="nothing"),
        pytest.param(r"\{" * 100 + r"{}" * 100, True, id="braces-that-do-not-nest"),
        pytest.param("x^{" * 24 + "}" * 24, True, id="nested"),
        pytest.param("x^{" * 25 + "}" * 25, False, id="nested-too-deep"),
        pytest.param(r"\left(" * 25 + r"\right)" * 25, False, id="brackets-nested-too-deep"),
        pytest.param("x" * 8_001, False, id="too-long"),
        pytest.param("&" * 100 + r"\\" * 100, False, id="too-many-cells"),
        pytest.param(r"\pmb{x} + " * 800, True, id="repeating-commands-side-by-side"),
        pytest.param(r"\underbracket{\underbracket{a}_b + c}_d", True, id="repeating-commands-in-each-other"),
        pytest.param(r"\pmb{" * 22 + "x" + "}" * 22, False, id="pmb"),
        pytest.param(r"\pmb{{\}" * 9 + "x" + "}}" * 9, False, id="brackets-between"),
        pytest.param(r"\centernot{\pmb{\overbracket{\underbracket{" * 3 + "x" + "}" * 12, False, id="several-of-them"),
        pytest.param(r"\ce{^{" * 9 + "x" + "}A}" * 9, False, id="isotopes"),
        pytest.param(r"\ce{H2O} + \frac{\ce{H+}}{\ce{OH-}} \text{in $\ce{^{14}_{6}C}$}", True, id="chemistry"),
        pytest.param(r"\sideset{}{}{\mathop{" * 9 + "x" + "}}" * 9, False, id="sideset"),
        pytest.param(
            r"\begin{numcases}{a}\text{$" * 8 + r"$}\end{numcases}" * 8, False, id="environments-that-repeat-themselves"
        ),
    ],
)
def test_what_is_too_large_is_not_drawn(tex: str, expected: bool) -> None:
    assert is_drawable(tex) is expected


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        pytest.param(r"\begin{alignat}{3}x\end{alignat} \begin{xxalignat} 2 x\end {xxalignat}", True, id="few"),
        pytest.param(r"\begin{alignat*}{20}\begin{alignedat}[t]{3}x\end{alignedat}\end{alignat*}", True, id="nested"),
        pytest.param(r"\begin{alignat}{}\end{alignat}", True, id="begun"),
        pytest.param(r"\begin{empheq}{alignat*=3}x\end{empheq}", True, id="few-in-another"),
        pytest.param(r"\begin{array}{*{3}{c}|*2c}x\end{array} 2 * {10} 2*3{,}000", True, id="few-repeated"),
        pytest.param(r"\begin{alignedat}{21}x\end{alignedat}", False, id="alignedat"),
        pytest.param(r"\begin {alignat*} {9999999}x\end{alignat*}", False, id="alignat"),
        pytest.param(r"\begin{xalignat}{9999999}x\end{xalignat}", False, id="xalignat"),
        pytest.param(r"\begin{xxalignat}{0021}x\end{xxalignat}", False, id="xxalignat"),
        pytest.param(r"\begin{alignedat}[t]{9999999}x\end{alignedat}", False, id="position"),
        pytest.param(r"\begin{alignedat}[{t}]{9999999}x\end{alignedat}", False, id="hidden-position"),
        pytest.param(r"\begin{alignat}\label{a}{9999999}x\end{alignat}", False, id="what-is-dropped-between"),
        pytest.param(r"\begin{empheq}{alignat=9999999}x\end{empheq}", False, id="in-another"),
        pytest.param(r"\begin{array}{*{50000}{c}}x\end{array}", False, id="array"),
        pytest.param(r"\begin{array}{*{20}{*9{*{20}{c}}}}x\end{array}", False, id="array-nested"),
    ],
)
def test_counted_columns_are_few(tex: str, expected: bool) -> None:
    assert is_drawable(tex) is expected


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        pytest.param("", "", id="nothing"),
        pytest.param(r"\fra", "", id="half-a-command"),
        pytest.param(r"x = \frac{1}{", r"x = \frac{1}{{}{}}", id="brace"),
        pytest.param(
            r"\begin{a} x &= \left( {y} \right) \\ \{ z^",
            r"\begin{a} x &= \left( {y} \right) \\ \{ z{}{}\end{a}",
            id="environment",
        ),
        pytest.param(r"\left( \text{a", r"\left( \text{a{}{}}\right.", id="bracket"),
        pytest.param(r"\begin{a} x \end{a", r"\begin{a} x{}{}\end{a}", id="half-an-end"),
    ],
)
def test_the_beginning_of_a_formula_is_completed(tex: str, expected: str) -> None:
    assert complete_tex(tex) == expected
