"""What the variable of an answer in the background is, until that has come."""

import threading

from localllm_magics.core.completion import Completion
from localllm_magics.core.errors import UsageError
from localllm_magics.core.generation import Generation
from localllm_magics.notebook.interrupts import shorten

_TICK = 0.1  # seconds; on Windows a wait sees an interrupt only when it ends
_ATTRIBUTES = frozenset(name for name in dir(Completion) if not name.startswith("_"))


class PendingCompletion:
    """The completion to come, which takes the place of this in the variable; those of its attributes then work too.

    Args:
        name: The variable.
        generation: What is generated.
    """

    def __init__(self, name: str, generation: Generation) -> None:
        self._name = name
        self._generation = generation
        self._completion: Completion | None = None
        self._ended = threading.Event()

    def __repr__(self) -> str:
        if self._completion is not None:
            return repr(self._completion)
        tokens = self._generation.tokens
        return f"<{self._name} is still generating, {tokens:,} tokens so far: {self._name}.wait() waits for its end>"

    def __str__(self) -> str:
        return repr(self) if self._completion is None else str(self._completion)

    def __getattr__(self, name: str) -> object:
        if name not in _ATTRIBUTES:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        if self._completion is None:
            raise self._still_generating()
        return getattr(self._completion, name)

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        return {"text/plain": repr(self)} if self._completion is None else self._completion.to_bundle()

    def wait(self, seconds: float | None = None) -> Completion:
        """Wait for the end, at most SECONDS; an answer that failed or was stopped has a completion too.

        Raises:
            UsageError: It was still generating after SECONDS.
        """
        try:
            if seconds is not None:
                self._ended.wait(seconds)
            else:
                while not self._ended.wait(_TICK):
                    pass
        except KeyboardInterrupt as exc:
            shorten(exc, f"stopped waiting; {self._name} is still generating. To stop it, type: %llm stop")
            raise
        if self._completion is None:
            raise self._still_generating()
        return self._completion

    def end(self, completion: Completion) -> None:
        """It has ended with COMPLETION."""
        self._completion = completion
        self._ended.set()

    def _still_generating(self) -> UsageError:
        return UsageError(f"{self._name} is still generating.", f"To wait for its end, type: {self._name}.wait()")
