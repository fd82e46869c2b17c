"""The decode rate of four ways to use one model, turn by turn, and the memory that they take."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

from tools.bench.ask import Ask, Contender, Memory, Sample
from tools.bench.cell import CellContender
from tools.bench.result import Row, Section, at_least, ratio_row
from tools.bench.subject import Subject
from tools.bench.worker import BARE, COMPLETE, HIGH_LEVEL, Worker

_CELL = "cell"
_NAMES = {BARE: "bare C-API loop", HIGH_LEVEL: "`Llama.create_completion`", COMPLETE: "`Model.complete`", _CELL: "cell"}


@dataclass(frozen=True, slots=True)
class Turn:
    """What one contender did in one round."""

    samples: tuple[Sample, ...]

    @property
    def rate(self) -> float:
        """Tokens a second after the prompt, the first token not counted: no decode was needed for it."""
        return sum(sample.steps for sample in self.samples) / sum(sample.decode_seconds for sample in self.samples)

    @property
    def whole_rate(self) -> float:
        """Tokens a second from the call, or the start of the cell, to the end."""
        return sum(sample.tokens for sample in self.samples) / sum(sample.wall_seconds for sample in self.samples)


def decode(subject: Subject, say: Callable[[str], None]) -> Section:
    """All contenders on SUBJECT."""
    with ExitStack() as stack:
        contenders: dict[str, Contender] = {}
        for name, words in _NAMES.items():
            say(f"decode on {subject.name}: loading for {words}")
            new = CellContender(subject.setup) if name == _CELL else Worker(name, subject.setup)
            contenders[name] = stack.enter_context(closing(new))
        turns = play(contenders, subject.asks, subject.rounds, lambda text: say(f"decode on {subject.name}: {text}"))
        memory = {name: contender.memory() for name, contender in contenders.items()}
    tokens = sum(sample.tokens for sample in turns[BARE][0].samples)
    return Section(
        title=f"Decoding, {subject.name}: {tokens} tokens a round, {subject.rounds} rounds, "
        f"{subject.setup.threads} threads",
        rows=(*_speed(subject, turns), *_memory(subject, memory)),
        notes=_differences(turns),
    )


def play(
    contenders: Mapping[str, Contender], asks: Sequence[Ask], rounds: int, say: Callable[[str], None]
) -> dict[str, list[Turn]]:
    """ROUNDS rounds in which the contenders take turns, every other time backwards, after one that does not count."""
    turns: dict[str, list[Turn]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        say(f"round {number} of {rounds}")
        for name, contender in list(contenders.items())[:: -1 if number % 2 else 1]:
            turn = Turn(tuple(contender.ask(ask) for ask in asks))
            if number:
                turns[name].append(turn)
    return turns


def _speed(subject: Subject, turns: Mapping[str, Sequence[Turn]]) -> list[Row]:
    rates = {name: [turn.rate for turn in all_turns] for name, all_turns in turns.items()}
    whole = {name: [turn.whole_rate for turn in all_turns] for name, all_turns in turns.items()}
    limits = subject.limits
    complete, cell, bare, high = rates[COMPLETE], rates[_CELL], rates[BARE], rates[HIGH_LEVEL]
    return [
        ratio_row("`Model.complete` against the bare loop", "tok/s", complete, bare, limits.complete),
        ratio_row("`%%llm` cell, by its document, against the bare loop", "tok/s", cell, bare, limits.cell),
        ratio_row("`%%llm` cell against `Model.complete`", "tok/s", cell, complete, limits.showing),
        ratio_row("`Model.complete` against `Llama.create_completion`", "tok/s", complete, high, 1.0),
        ratio_row("`%%llm` cell against `Llama.create_completion`", "tok/s", cell, high, 1.0),
        ratio_row("call to end, `Model.complete` against the bare loop", "tok/s", whole[COMPLETE], whole[BARE]),
        ratio_row("busy to idle, `%%llm` cell against the bare loop", "tok/s", whole[_CELL], whole[BARE]),
    ]


def _memory(subject: Subject, memory: Mapping[str, Memory]) -> list[Row]:
    ours, high, bare = memory[COMPLETE], memory[HIGH_LEVEL], memory[BARE]
    saved = at_least(high.resident - ours.resident, subject.limits.saved_megabytes, "MB less")
    name = "resident memory, `Model.complete` against"
    return [
        Row(measure=f"{name} `Llama`", unit="MB", ours=ours.resident, peer=high.resident, target=saved),
        Row(measure=f"{name} the bare loop", unit="MB", ours=ours.resident, peer=bare.resident),
        Row(measure="reserved memory, against `Llama`", unit="MB", ours=ours.reserved, peer=high.reserved),
    ]


def _differences(turns: Mapping[str, Sequence[Turn]]) -> tuple[str, ...]:
    """What makes the comparison less than fair, in sentences."""
    notes = []
    for what in ("prompt_tokens", "tokens", "text"):
        answers = {name: [getattr(sample, what) for sample in turns[name][0].samples] for name in turns}
        unlike = [_NAMES[name] for name, answer in answers.items() if answer != answers[BARE]]
        if unlike:
            notes.append(f"{what.replace('_', ' ')} unlike the bare loop's: {', '.join(unlike)}.")
    spread = [turn.rate for turn in turns[BARE]]
    notes.append(
        f"The bare loop itself: {min(spread):.4g} to {max(spread):.4g}, median {statistics.median(spread):.4g} tok/s."
    )
    return tuple(notes)
