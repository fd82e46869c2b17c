"""The marks between which models write their reasoning and their answer, found in a model's chat template."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of what a model writes.

    Args:
        start: The mark that begins it.
        end: The mark that ends it.
        header_end: The mark that ends a header, which follows the start; empty where there is none.
        reasoning: What its header says if it is reasoning, nothing if it always is; None for an answer.
        is_wrapper: Whether it is an answer only behind reasoning, because any text may begin like it.
    """

    start: str
    end: str
    header_end: str = ""
    reasoning: str | None = ""
    is_wrapper: bool = False

    @property
    def marks(self) -> tuple[str, ...]:
        """Its marks in brackets, each of which may be a token; the texts themselves if there are none."""
        texts = (self.start, self.header_end, self.end)
        return tuple(_IN_BRACKETS.findall(" ".join(texts))) or tuple(filter(None, texts))

    def is_reasoning(self, header: str) -> bool:
        """Whether it is reasoning if it has HEADER."""
        return self.reasoning is not None and self.reasoning in header

    def begun(self, text: str) -> tuple[str, str] | None:
        """The header in TEXT and what follows it; None while the start is not complete."""
        if not text.startswith(self.start):
            return None
        text = text.removeprefix(self.start)
        if not self.header_end:
            return "", text
        header, mark, rest = text.partition(self.header_end)
        return (header, rest) if mark else None

    def may_begin(self, text: str) -> bool:
        """Whether more of TEXT may make it a start that is complete, or the end of a section left out."""
        return text.startswith(self.start) or self.start.startswith(text) or self.end.startswith(text)


_IN_BRACKETS = re.compile(r"<[^<>\s]+>|\[[^\[\]\n]+\]")
_WORD = r"[^\s<>\[\]◁▷{}'\"/]{0,40}"
_REASONING = rf"[<\[◁]{_WORD}(?:think|thought|reasoning){_WORD}[>\]▷]"
_OPPOSITES = {"start": "end", "begin": "end", "prefix": "suffix"}
THINK = Section(start="<think>", end="</think>")
# Those whose marks do not follow from one another; each family is of a template that has all of its marks.
_FAMILIES = (
    (  # gpt-oss
        Section(start="<|channel|>", header_end="<|message|>", end="<|end|>", reasoning="analysis"),
        Section(start="<|start|>", header_end="<|message|>", end="<|end|>", reasoning="analysis"),
    ),
    (Section(start="<|channel>thought", end="<channel|>"),),  # Gemma 4
    (  # Solar Open
        Section(start="<|think|>", end="<|end|>"),
        Section(start="<|content|>", end="<|end|>", reasoning=None),
        Section(start="<|begin|>assistant<|think|>", end="<|end|>"),
        Section(start="<|begin|>assistant<|content|>", end="<|end|>", reasoning=None),
    ),
    (  # Kimi K3
        Section(start="<|open|>think<|sep|>", end="<|close|>think<|sep|>"),
        Section(start="<|open|>response<|sep|>", end="<|close|>response<|sep|>", reasoning=None),
    ),
    (  # Muse Glimmer
        Section(start="to=", header_end="<|message|>", end="<|eom|>", reasoning="self"),
        Section(start="<|start|>", header_end="<|message|>", end="<|eom|>", reasoning="to=self"),
    ),
    (Section(start="<|inner_prefix|>", end="<|inner_suffix|>"),),  # Apertus
    (Section(start="Here are my reasoning steps:", end="[BEGIN FINAL RESPONSE]"),),  # Apriel
    (Section(start="Here is my thought process:", end="Here is my response:"),),  # Granite 3.2
    (Section(start="<|START_RESPONSE|>", end="<|END_RESPONSE|>", reasoning=None),),  # Command R7B
    (Section(start="<|START_TEXT|>", end="<|END_TEXT|>", reasoning=None),),
    (Section(start="<|begin_of_solution|>", end="<|end_of_solution|>", reasoning=None),),
    (Section(start="<response>", end="</response>", reasoning=None, is_wrapper=True),),  # Granite 3.3
    (Section(start="<answer>", end="</answer>", reasoning=None, is_wrapper=True),),  # Hunyuan
)
# The marks that no innocent answer begins with, for servers, whose template is not known.
_WELL_KNOWN = (
    "[THINK][/THINK] <seed:think></seed:think> <mm:think></mm:think> ◁think▷◁/think▷ <|channel>thought<channel|> "
    "<|channel|><|message|><|start|><|end|> <|START_THINKING|><|END_THINKING|> <|START_RESPONSE|><|END_RESPONSE|> "
    "<|begin_of_thought|><|end_of_thought|> <|begin_of_solution|><|end_of_solution|>"
)


@lru_cache(maxsize=8)
def sections_of(template: str) -> tuple[Section, ...]:
    """The sections whose marks are in TEMPLATE; `<think>` is common enough to need no template."""
    families = (family for family in _FAMILIES if all(mark in template for section in family for mark in section.marks))
    return tuple(dict.fromkeys([THINK, *_derived(template), *chain.from_iterable(families)]))


def well_known_sections() -> tuple[Section, ...]:
    """Those of models in the field, where the template is not known."""
    return sections_of(_WELL_KNOWN)


def opened_section(prompt: str, sections: tuple[Section, ...]) -> Section | None:
    """The section whose start is at the end of PROMPT, None if there is none."""
    end = prompt[-200:].rstrip()
    for section in sections:
        if not section.header_end and end.endswith(section.start):
            return section
    mark = re.search(f"(?i){_REASONING}$", end)
    if mark is None or any(mark[0] == section.end for section in sections):
        return None
    return Section(start=mark[0], end=next(_closings(mark[0])))


def _derived(template: str) -> Iterator[Section]:
    """Sections such as `[THINK]` to `[/THINK]`, whatever they are called."""
    for start in dict.fromkeys(re.findall(f"(?i){_REASONING}", template)):
        for closing in _closings(start):
            if closing in template:
                yield Section(start=start, end=closing)


def _closings(start: str) -> Iterator[str]:
    """The marks that may close what START opens."""
    for word, opposite in _OPPOSITES.items():
        swapped = start.replace(word, opposite).replace(word.upper(), opposite.upper())
        if swapped != start:
            yield swapped
    bracket = 2 if start.startswith("<|") else 1
    yield f"{start[:bracket]}/{start[bracket:]}"
