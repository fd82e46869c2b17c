r"""Formulas that load, run and redefine nothing, and that stay about as large as they are written.

TeX can paint and shift by any length, nest without end, and define macros that grow without end. So lengths are drawn
from a budget, commands that hide the size of what they set are dropped, and what is nested too deep is no formula.
"""

import re
from itertools import accumulate

# Commands that load, run or style, in MathJax, KaTeX or LaTeX, those that can rename them, and those whose lengths
# stand where they are not searched.
_COMMANDS = """
    (?:Declare|New|Provide|Renew)[A-Za-z]*(?:Command|Environment) DeclareMathOperator
    DeclarePairedDelimiters?(?:XP*)? MoveEqLeft Newextarrow abovewithdelims action bbox catcode char class cssId
    csname def definecolor documentclass edef endcsname expandafter framebox futurelet gdef global href htmlClass
    htmlData htmlId htmlStyle immediate include includegraphics input let makebox mathchardef mathmakebox mathtip
    mathtoolsset minCDarrowheight minCDarrowwidth mmlToken newcommand newenvironment newread newtagform newwrite
    openin openout parbox providecommand read renewcommand renewenvironment renewtagform require special style
    texttip tooltip unicode url usepackage usetagform write xdef xmathstrut
"""
COMMAND = re.compile(rf"\\(?=(?:{'|'.join(_COMMANDS.split())})(?![A-Za-z]))")
_ENVIRONMENT = re.compile(r"\\(begin|end)\b(\{[^{}]*\})?", re.IGNORECASE)
# Looks like a backslash, but is not one to TeX.
INERT_BACKSLASH = "\uff3c"

# A space, which TeX ignores, separates what would be Markdown syntax in a formula.
_SPACED = re.compile(
    r"<(?![\s=\d-])|!(?=\\*\[)|\](?=[(:])|&(?=#?\w+;)|:(?=//|::)|(?<=www)(?=\.)|~(?=~)|@(?=@)|\\\\(?=[()\[\]])",
    re.IGNORECASE,
)
# What sets its argument without its size, which would then be painted over the rest of the page, is dropped: the
# argument stays. So is a label: JupyterLab draws a formula anew with each update, and no label may come twice.
_DROPPED = re.compile(
    r"\\(?:smash(?:operator)?(?![A-Za-z])\s*(?:\[[a-z]*\])?"
    r"|(?:math|cramped)?[rlc]lap(?![A-Za-z])(?![ ]*\{[^{}\\]{1,3}\})"
    r"|label\s*\{[^{}]*\}|(?:below|above)displayskip(?![A-Za-z]))"
)
# White space as MathJax reads it.
_S = r"[\s\ufeff]*"
_SPREAD = re.compile(rf"(\\begin{_S}\{{spreadlines\}})(?:{_S}\{{[^{{}}]*\}})?")
# Optional arguments that are lengths, with units or without, are dropped: there are defaults.
_OPTIONS = re.compile(
    rf"(?P<command>\\(?:[bx]?cancel|cancelto|(?:under|over)bracket|shove(?:left|right))(?![A-Za-z])"
    rf"|\\begin{_S}\{{multlined\}}|\\enclose(?![A-Za-z]){_S}\{{[^{{}}]*\}})(?:{_S}\[[^\]]*\])+(?P<letter>(?=[A-Za-z]))?"
)
# Lengths that are numbers, and those behind what is not searched.
_UNSEEN = re.compile(
    rf"\\(?=(?:skew|uproot|leftroot)(?![A-Za-z])(?!{_S}(?:\{{-?[12]?\d\}}|\d))"
    rf"|enclose(?![A-Za-z])(?!{_S}\{{[^{{}}]*\}}))"
)
_ROW_SKIP = re.compile(r"(?<=\\\\)\*?\s*\[\s*[-+]?[\d.,]+\s*[A-Za-z]{2}\s*\]")

_DIMENSION = r"\s*[-+]?(?:\d{1,9}(?:[.,]\d{0,9})?|[.,]\d{1,9})\s*(?:em|ex|pt|px|pc|in|cm|mm|mu|bp|dd|cc|sp)\s*"
_BRACED = rf"\s*\{{{_DIMENSION}\}}"
_SHIFTS = "raise|lower|m?kern|[hvm]skip|[hvm]space|moveleft|moveright|above"
_LENGTH = re.compile(
    rf"""\\(?:
        (?P<box>rule(?![A-Za-z])(?:\s*\[{_DIMENSION}\])?{_BRACED}{_BRACED}
          | (?:Rule|Space)(?![A-Za-z]){_BRACED}{_BRACED}{_BRACED}
          | raisebox(?![A-Za-z]){_BRACED}
          | genfrac(?![A-Za-z])\s*\{{[^{{}}]*\}}\s*\{{[^{{}}]*\}}\s*\{{(?:{_DIMENSION})?\}}
          | (?:{_SHIFTS})(?![A-Za-z])\s*\*?(?:{_BRACED}|{_DIMENSION}))
      | (?P<back>!|neg(?:thin|med|thick)space(?![A-Za-z]))
      | (?P<broken>(?:[rR]ule|Space|raisebox|genfrac|{_SHIFTS})(?![A-Za-z]))
    )""",
    re.VERBOSE,
)
_NAME = re.compile("[A-Za-z]+")
_NUMBER = re.compile(r"([-+]?[\d.,]+)(\s*)([a-z]{2})")
_EM = {"em": 1.0, "ex": 0.43, "pc": 1.2, "in": 7.2, "cm": 2.85, "mm": 0.285, "mu": 1 / 18, "sp": 1e-6, "cc": 1.28}
# In the lengths of a formula together: across and down, as the arguments of a command follow each other, and back.
_MAX_EM = {"across": 24.0, "down": 3.0, "back": 3.0}
_BOX = {"rule": ["down", "across", "down"], "Rule": ["across", "down", "down"], "Space": ["across", "down", "down"]}
_DOWN = frozenset(["raise", "lower", "raisebox", "vskip", "vspace", "genfrac", "above"])
_MAX_DEPTH = 24
_MAX_LENGTH = 8_000
_MAX_CELLS = 2_000
# What sets an argument or a table more than once, most of them twice.
_REPEATING = re.compile(
    r"(?P<repeats>\\(?:ce|pmb|centernot|centerOver|(?:under|over)bracket|sideset|adjustlimits|Aboxed)(?![A-Za-z])"
    r"|\\begin\s*\{(?:empheq|(?:sub)?numcases)\})|(?P<opens>\{)|(?P<closes>\})|\\.",
    re.DOTALL,
)
# Columns that are counted instead of written: too many, and what may not be a number, are no formula.
_COLUMNS = r"(?:\{(?:1?\d|20)?\}|\d)"
_UNCOUNTED = re.compile(
    rf"(?<!\\end)(?<!\\end[ ])\{{x{{0,2}}align(?:ed)?at"
    rf"(?!\*?(?:=(?:1?\d|20)?\}}|\}}\s*(?:\[[a-z]?\]\s*)?{_COLUMNS}))"
    rf"|(?:\*\s*{_COLUMNS}\s*\{{[^{{}}]*){{2}}|\*\s*(?!{_COLUMNS})\{{\s*\d+\s*\}}\s*\{{"
)
_SIZE = re.compile(r"\\(?:LARGE|Large|large|huge|Huge)(?![A-Za-z])")
_NESTED = re.compile(
    r"(?P<opens>\\(?:begin|left|bgroup|begingroup)(?![A-Za-z])|\{)"
    r"|(?P<closes>\\(?:end|right|egroup|endgroup)(?![A-Za-z])|\})|\\."
)
# What may yet become a command, or lacks what it is about.
_UNFINISHED = re.compile(r"(?:\\(?:begin|end)[ ]*\{[^{}]*|\\[A-Za-z]*|[_^]|\s)+\Z")
_CLOSINGS = {"{": "}", r"\left": r"\right."}
_PAIRS = re.compile(
    r"\\begin(?P<name>\{[^{}]*\})|\\left(?![A-Za-z])|(?P<closes>\\end\{[^{}]*\}|\\right(?![A-Za-z])|\})|\{|\\."
)


def is_drawable(tex: str) -> bool:
    """Whether the formula is short and flat enough to be drawn at all."""
    rows = tex.split("\\\\")
    if _drawn_length(tex) > _MAX_LENGTH or len(rows) * (max(row.count("&") for row in rows) + 1) > _MAX_CELLS:
        return False
    if _UNCOUNTED.search(tex):
        return False
    steps = (bool(token["opens"]) - bool(token["closes"]) for token in _NESTED.finditer(tex))
    return max(accumulate(steps), default=0) <= _MAX_DEPTH


def complete_tex(tex: str) -> str:
    """The beginning of a formula as one that can be drawn: what is open is closed, and half a command is left out."""
    tex = _UNFINISHED.sub("", tex)
    closings: list[str] = []
    for token in _PAIRS.finditer(tex):
        if token["closes"]:
            del closings[-1:]
        elif token["name"]:
            closings.append(rf"\end{token['name']}")
        elif token[0] in _CLOSINGS:
            closings.append(_CLOSINGS[token[0]])
    # The last command may want two arguments.
    return "".join([tex, "{}{}", *reversed(closings)]) if tex else ""


def sanitize_tex(tex: str) -> str:
    """The formula without commands that load or run, and without syntax for a renderer to which it is prose."""
    tex = _DROPPED.sub(" ", tex.replace("`", "'"))
    # What follows is about neighbors, so nothing is taken out between them later.
    tex = _ROW_SKIP.sub(" ", _bound_lengths(COMMAND.sub(INERT_BACKSLASH, tex)))
    tex = _OPTIONS.sub(_without_options, _SPREAD.sub(r"\1{0em}", _UNSEEN.sub(INERT_BACKSLASH, tex)))
    tex = _SPACED.sub(r"\g<0> ", tex)
    is_open: dict[str, bool] = {}
    for environment in _ENVIRONMENT.finditer(tex):
        is_open[environment[2] or ""] = environment[1].lower() == "begin" or not environment[2]
    # An environment without an end would be ended by a code block that has one.
    if any(is_open.values()):
        return _ENVIRONMENT.sub(lambda found: f"{INERT_BACKSLASH}{found[0][1:]}", tex)
    return tex


def _drawn_length(tex: str) -> int:
    """How long the formula is once all is written out that may be repeated: each one within another doubles it."""
    depth, depths = 0, set[int]()
    for token in _REPEATING.finditer(tex):
        depth += bool(token["opens"]) - bool(token["closes"])
        if token["repeats"]:
            depths.add(depth)
    return len(tex) << max(0, len(depths) - 1)


def _without_options(command: re.Match[str]) -> str:
    return command["command"] + " " * (command["letter"] is not None)


def _bound_lengths(tex: str) -> str:
    budget = _Budget()
    first = _SIZE.search(tex)
    if first:
        tex = tex[: first.end()] + _SIZE.sub(" ", tex[first.end() :])
    return _LENGTH.sub(budget.bounded, tex)


class _Budget:
    """What the lengths of one formula may still add up to."""

    def __init__(self) -> None:
        self._left = dict(_MAX_EM)

    def bounded(self, command: re.Match[str]) -> str:
        """The command with lengths that the budget allows; inert if they are not where they are searched."""
        if command["broken"]:
            return f"{INERT_BACKSLASH}{command['broken']}"
        if command["back"]:
            return command[0] if self._allows(0.3, "back") else " "
        name = _NAME.findall(command[0])[0]
        lengths = list(_NUMBER.finditer(command[0]))
        directions = _BOX.get(name, ["down" if name in _DOWN else "across"] * len(lengths))[-len(lengths) :]
        allowed = iter([self._bounded_length(*pair) for pair in zip(lengths, directions, strict=True)])
        return _NUMBER.sub(lambda _: next(allowed), command[0])

    def _bounded_length(self, length: re.Match[str], direction: str) -> str:
        number, blank, unit = length.groups()
        em = float(number.replace(",", ".")) * _EM.get(unit, 0.1)
        is_allowed = self._allows(abs(em), direction) and (em >= 0 or self._allows(-em, "back"))
        return length[0] if is_allowed else f"0{blank}{unit}"

    def _allows(self, em: float, direction: str) -> bool:
        is_allowed = em <= self._left[direction]
        self._left[direction] -= em * is_allowed
        return is_allowed
