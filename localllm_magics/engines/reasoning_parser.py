"""Parts the reasoning of a model from its answer."""

from localllm_magics.core.events import Delta, ReasoningDelta, TextDelta
from localllm_magics.engines.detokenizer import overlap
from localllm_magics.engines.reasoning_sections import THINK, Section, opened_section, well_known_sections

_LONGEST_START = 300  # characters of a section's start, with its header


class ReasoningParser:
    """Parts the sections of reasoning from the answer; an answer without them is not changed.

    Engines pass each `TextDelta` through `feed`, and call `end` after the last. The tokens of a piece are in its
    events, even if its text is held back or is only a mark.

    There are three states: at the start of a section, in a section, and in an answer that no mark began. The last has
    no end: what looks like a mark there is text.

    Args:
        is_raw: Whether the model continues plain text, in which marks have no meaning.
        sections: What the model may write; None where its template is not known.
        prompt: What it read, whose end may have begun a section.
    """

    def __init__(self, *, is_raw: bool = False, sections: tuple[Section, ...] | None = None, prompt: str = "") -> None:
        self._sections = well_known_sections() if sections is None else sections
        self._section = THINK  # the last one that began, once one has
        self._has_begun = False
        self._is_reasoning = False
        self._is_fresh = False  # whether the section has no text yet
        self._held = ""  # what may be a mark
        self._control: list[str] = []  # the control tokens in it, which are no text
        self._closing = ""  # the mark that ended the last answer, unless a control token did
        self._out = {True: "", False: ""}  # by whether it is reasoning
        self._written: set[bool] = set()
        self._step = self._in_answer if is_raw else self._at_start
        if not is_raw and (opened := opened_section(prompt, self._sections)) is not None:
            self._begin(opened, "")

    def feed(self, delta: TextDelta, *, is_control: bool = False) -> list[Delta]:
        """The events of DELTA, at least one; a control token is a mark or nothing, and never text."""
        if is_control:
            self._take_control(delta.text)
        else:
            self._held += delta.text
        while self._step():
            pass
        return self._events(delta)

    def end(self) -> list[Delta]:
        """The text that was held back as a possible mark; empty the second time."""
        if self._step != self._at_start:
            self._emit(self._held)
        elif self._held.strip() or not self._has_begun:
            self._to_text()
            self._emit(self._held)
        self._held = ""
        return [event for event in self._events(TextDelta("", 0)) if event.text]

    def _events(self, delta: TextDelta) -> list[Delta]:
        tokens, estimated = delta.tokens, delta.estimated
        reasoning, answer = self._out[True], self._out[False]
        self._out = {True: "", False: ""}
        if not reasoning:
            return [TextDelta(answer, tokens, estimated)]
        first = ReasoningDelta(reasoning, tokens, estimated)
        return [first, TextDelta(answer, 0, estimated)] if answer else [first]

    # Each step takes what is held, and tells whether another one is to follow.

    def _at_start(self) -> bool:
        text, expected = self._held.lstrip(), self._expected()
        for section in expected:
            if (begun := section.begun(text)) is not None:
                header, self._held = begun
                self._begin(section, header)
                return True
            if section.reasoning is not None and text.startswith(section.end):  # no reasoning, and not even its start
                self._held, self._has_begun = text.removeprefix(section.end), True
                return True
        may_begin = any(section.may_begin(text) for section in expected) and len(self._held) <= _LONGEST_START
        if not may_begin:
            self._to_text()
        return not may_begin

    def _expected(self) -> list[Section]:
        return [section for section in self._sections if self._has_begun or not section.is_wrapper]

    def _in_section(self) -> bool:
        section = self._section
        if self._is_fresh:
            self._held = self._held.lstrip()
            if self._is_reasoning and self._held.startswith(section.start):  # once more, though the prompt has it
                self._held = self._held.removeprefix(section.start)
                return True
            if section.start.startswith(self._held):
                return False
        text, mark, rest = self._held.partition(section.end)
        if mark:
            self._emit(text)
            self._closing = "" if self._is_reasoning or self._control else mark
            self._held, self._step = rest, self._at_start
            return True
        shown = len(text) - overlap(text, section.end)
        self._held = text[shown:]
        self._emit(text[:shown])
        return False

    def _in_answer(self) -> bool:
        self._emit(self._held)
        self._held = ""
        return False

    def _begin(self, section: Section, header: str) -> None:
        self._section, self._is_reasoning = section, section.is_reasoning(header)
        self._has_begun = self._is_fresh = True
        self._control, self._closing = [], ""
        self._step = self._in_section

    def _to_text(self) -> None:
        """No section begins here: it is answer."""
        for mark in self._control:
            self._held = self._held.replace(mark, "", 1)
        self._control, self._is_reasoning = [], False
        if self._closing:  # which was text, too
            self._emit(self._closing)
            self._closing, self._step = "", self._in_section
            return
        self._is_fresh, self._step = True, self._in_answer
        if self._has_begun:
            self._held = self._held.lstrip()

    def _take_control(self, mark: str) -> None:
        in_section = self._step == self._in_section
        if self._step == self._at_start or (in_section and mark in self._section.end):
            self._held += mark
            self._control.append(mark)
        elif any(section.start.startswith(mark) for section in self._sections if self._may_follow(section)):
            self._emit(self._held)
            self._held, self._control, self._step = mark, [mark], self._at_start

    def _may_follow(self, section: Section) -> bool:
        """Whether SECTION may begin before the end of this one: reasoning inside reasoning is the same."""
        return not self._is_reasoning or section.reasoning != ""

    def _emit(self, text: str) -> None:
        if text:
            kind = self._is_reasoning
            is_another = self._is_fresh and kind in self._written
            self._out[kind] += f"\n\n{text}" if is_another else text
            self._is_fresh = False
            self._written.add(kind)
