"""The live line of a card, at a pace that the test sets."""

import pytest

from localllm_magics.core.completion import EngineName, ModelUsed
from localllm_magics.core.events import Done, Event, Loading, Pending, Reading, ReasoningDelta, TextDelta
from localllm_magics.core.generation import Generation
from localllm_magics.core.progress import Progress
from localllm_magics.core.request import Request
from localllm_magics.notebook.card.status_line import to_bundle, to_plain

USED = ModelUsed(reference="demo", engine="kernel", device="CPU", context=2048)


class Watched:
    """A generation, and the time."""

    def __init__(self, model: ModelUsed = USED) -> None:
        self.now = 0.0
        self.generation = Generation(Request(messages=()), model, clock=lambda: self.now)

    @property
    def progress(self) -> Progress:
        return Progress.of(self.generation)

    def feed(self, *events: Event, seconds: float) -> None:
        """SECONDS pass, then EVENTS come."""
        self.now += seconds
        for event in events:
            self.generation.feed(event)


@pytest.mark.parametrize(
    ("events", "line"),
    [
        pytest.param([], "demo · pending", id="nothing yet"),
        pytest.param([Pending()], "demo · pending · 2 s", id="pending"),
        pytest.param([Loading(0.0)], "demo · loading · 0 s", id="loading, without a fraction"),
        pytest.param([Loading(0.0), Loading(0.0)], "demo · loading · 2 s", id="loading on, without a fraction"),
        pytest.param([Reading(0, 0)], "demo · reading · 0 s", id="reading, without a fraction"),
        pytest.param([Reading(0, 0), Reading(0, 0)], "demo · reading · 2 s", id="reading on, without a fraction"),
        pytest.param([Loading(0.0), Loading(0.426)], "demo · loading · 43%", id="loading on"),
        pytest.param([Reading(0, 1200)], "demo · reading · 0 of 1,200 tokens", id="reading, no rate yet"),
        pytest.param(
            [Reading(0, 1200), Reading(200, 1200)],
            "demo · reading · 200 of 1,200 tokens · 100 tok/s · 10 s left",
            id="reading",
        ),
        pytest.param(
            [Reading(256, 1200, 256), Reading(456, 1200, 256)],
            "demo · reading · 456 of 1,200 tokens · 256 from the cache · 100 tok/s · 7 s left",
            id="reading after a cache",
        ),
        pytest.param(
            [TextDelta("a", 2)], "demo · generating · 2 tokens · first token 2.00 s", id="generating, no rate"
        ),
        pytest.param(
            [TextDelta("a", 1), TextDelta("b", 1999)],
            "demo · generating · 2,000 tokens · 1,000 tok/s · first token 2.00 s",
            id="generating",
        ),
        pytest.param(
            [TextDelta("a", 1, estimated=True), TextDelta("b", 1999, estimated=True)],
            "demo · generating · ~2,000 tokens · ~1,000 tok/s · first token 2.00 s",
            id="generating, not counted",
        ),
        pytest.param(
            [TextDelta("a", 1, estimated=True), TextDelta("b", 3)],
            "demo · generating · ~4 tokens · ~1.5 tok/s · first token 2.00 s",
            id="generating, counted in part",
        ),
        pytest.param(
            [ReasoningDelta("a", 1), ReasoningDelta("b", 3)],
            "demo · generating · 4 tokens of reasoning · 1.5 tok/s · first token 2.00 s",
            id="reasoning",
        ),
        pytest.param(
            [ReasoningDelta("a", 2, estimated=True), TextDelta("b", 2, estimated=True)],
            "demo · generating · ~4 tokens · ~1.0 tok/s · first token 2.00 s",
            id="an answer after reasoning",
        ),
    ],
)
def test_the_line_shows_what_happens(events: list[Event], line: str) -> None:
    watched = Watched(ModelUsed(reference="demo"))
    for event in events:
        watched.feed(event, seconds=2.0)

    assert to_plain(watched.progress) == line


def test_the_line_shows_where_it_runs_and_how_full_the_context_is() -> None:
    watched = Watched()
    watched.feed(Reading(1000, 1000), TextDelta("a", 24), seconds=1.0)
    watched.now += 2.0

    line = to_plain(watched.progress)

    assert line == (
        "demo · kernel on CPU · generating · 24 tokens · 12.0 tok/s · first token 1.00 s · context 1,024 of 2,048"
    )


@pytest.mark.parametrize(
    ("engine", "quiet", "seconds", "end"),
    [
        ("openai", TextDelta("a", 1), 9.0, " · 1 token · first token 1.00 s"),
        ("openai", TextDelta("a", 1), 40.0, " · 1 token · first token 1.00 s · no data for 40 s"),
        ("ollama", Reading(0, 0), 40.0, " · reading · 40 s · no data for 40 s"),
        ("kernel", Reading(0, 9), 40.0, " · reading · 0 of 9 tokens"),
        ("openai", Loading(0.0), 40.0, " · loading · 40 s"),
    ],
)
def test_a_server_that_sends_nothing_is_named(engine: EngineName, quiet: Event, seconds: float, end: str) -> None:
    watched = Watched(ModelUsed(reference="x", engine=engine))
    watched.feed(quiet, seconds=1.0)
    watched.now += seconds

    assert to_plain(watched.progress).endswith(end)


def test_a_finished_one_shows_its_state() -> None:
    watched = Watched(ModelUsed(reference="demo"))
    watched.feed(TextDelta("a", 1), seconds=1.0)
    watched.feed(Done(watched.generation.to_completion("stopped")), seconds=1.0)
    watched.now += 2.0

    assert to_plain(watched.progress) == "demo · stopped"


def test_nothing_in_the_bundle_is_markup_or_control() -> None:
    watched = Watched(ModelUsed(reference="<b>\x1b[31m"))

    bundle = to_bundle(to_plain(watched.progress), "*Text*")

    assert bundle == {
        "text/plain": "<b> · pending",
        "text/markdown": '*Text*\n\n<small style="color:gray">◌ &lt;b> · pending</small>',
    }
