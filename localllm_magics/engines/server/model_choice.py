"""Which model is meant where a server is named without one."""

from collections.abc import Sequence

from localllm_magics.core.errors import ModelNotInDaemon

_MAX_LISTED = 5


def sole_model(loaded: Sequence[str], names: Sequence[str], *, server: str, scheme: str, url: str) -> str | None:
    """The only model of the server, or the only one in memory; None where it has none.

    Args:
        loaded: Those in memory.
        names: All of them.
        server: What to call it in a message.
        scheme: Of a reference to one of its models.
        url: Its address.

    Raises:
        ModelNotInDaemon: There are several.
    """
    if len(loaded) == 1:
        return loaded[0]
    if len(names) > 1:
        listed = ", ".join(names[:_MAX_LISTED])
        raise ModelNotInDaemon(
            f"{server} has {len(names)} models, and none was named: {listed}.",
            f"Type: %llm load {scheme}:{names[0]}@{url}",
        )
    return names[0] if names else None
