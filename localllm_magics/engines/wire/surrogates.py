"""Characters that a server sends in two halves, the first surrogate in one piece and the second in the next."""

from localllm_magics.engines.wire.fields import valid_text


class SurrogateJoiner:
    """Joins the pieces of one text: the first half of a character waits for the second one."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, piece: str) -> str:
        """The whole characters of PIECE; a half that nothing follows is never returned."""
        text, self._half = self._half + piece, ""
        if "\ud800" <= text[-1:] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return valid_text(text)
