"""Generations of requests, as `Model` makes them."""

from localllm_magics.core.completion import ModelUsed
from localllm_magics.core.events import Event
from localllm_magics.core.generation import Generation
from localllm_magics.core.messages import to_messages
from localllm_magics.core.request import Request
from localllm_magics.engines.base import Engine
from localllm_magics.engines.stream import Stream


def generation_of(request: Request | str = "Why?") -> Generation:
    """A generation of REQUEST, or of a question, that nobody has begun."""
    asked = Request(messages=to_messages(request)) if isinstance(request, str) else request
    return Generation(asked, ModelUsed(reference="not known yet"))


def stream_of(engine: Engine, request: Request | str = "Why?") -> Stream:
    """ENGINE's answer, as it comes."""
    return Stream(engine, generation_of(request))


def events_of(engine: Engine, request: Request | str = "Why?") -> list[Event]:
    """All events of ENGINE's answer."""
    with stream_of(engine, request) as stream:
        return list(stream)
