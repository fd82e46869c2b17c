import pytest

from localllm_magics.engines.wire.surrogates import SurrogateJoiner


@pytest.mark.parametrize(
    ("pieces", "texts"),
    [
        pytest.param(["Hi", "é🦙"], ["Hi", "é🦙"], id="whole characters"),
        pytest.param(["a\ud83e", "\udd99b"], ["a", "🦙b"], id="two halves"),
        pytest.param(["\ud83e", "", "\udd99"], ["", "", "🦙"], id="an empty piece between"),
        pytest.param(["\ud83e", "b"], ["", "\ufffdb"], id="no second half"),
        pytest.param(["\udd99"], ["\ufffd"], id="no first half"),
        pytest.param(["\ud83e\ud83e", "\udd99"], ["\ufffd", "🦙"], id="two first halves"),
        pytest.param(["a\ud83e"], ["a"], id="cut at the end"),
    ],
)
def test_halves_of_a_character_are_joined(pieces: list[str], texts: list[str]) -> None:
    joiner = SurrogateJoiner()

    assert [joiner.feed(piece) for piece in pieces] == texts
