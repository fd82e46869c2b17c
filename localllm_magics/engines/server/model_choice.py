"""Which model is meant where a server is named without one."""

from collections.abc import Sequence

from localllm_magics.core.errors import ModelNotInDaemon


def sole_model(loaded: Sequence[str], names: Sequence[str], *, server: str, scheme: str, url: str) -> str | None:
    """The only model of the server, or the only one of the LOADED; None where it has none.

    Messages call it SERVER, and begin a reference to one of its models with SCHEME.

    Raises:
        ModelNotInDaemon: There are several.
    """
    if len(loaded) == 1:
        return loaded[0]
    if len(names) > 1:
        listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        raise ModelNotInDaemon(
            f"{server} has {len(names):,} models, and none was named: {listed}.",
            f"Type: %llm load {scheme}:{names[0]}@{url}",
        )
    return names[0] if names else None
