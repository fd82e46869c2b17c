"""A model on an identified server: what requests and messages call it."""

from dataclasses import dataclass

from localllm_magics.core.errors import AccessDenied, DaemonError, DaemonNotReachable
from localllm_magics.core.stop import Stop
from localllm_magics.engines.openai.dialect import dialect
from localllm_magics.engines.openai.identity import Identity, ServedModel, ServerKind, identify, usual_base
from localllm_magics.engines.openai.llama_server import LOADED
from localllm_magics.engines.server.connection import Connection
from localllm_magics.engines.server.model_choice import sole_model
from localllm_magics.engines.server.server_error import ErrorContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One model of a server.

    Args:
        wanted: The model's name as the user wrote it, empty for the one that the server has.
        served: The server's entry of it, None where the server does not list it.
    """

    connection: Connection
    identity: Identity
    wanted: str
    served: ServedModel | None

    @property
    def context(self) -> int | None:
        """The size of the context window, in tokens."""
        return self.identity.context or (self.served.context if self.served else None)

    @property
    def notices(self) -> tuple[str, ...]:
        """Which model answers, if not the one that was asked for."""
        served = self.served
        if served is None or not self.wanted or served.is_called(self.wanted):
            return ()
        return (f"{self.wanted} was asked for; the server has {served.label}.",)

    @property
    def name(self) -> str:
        """What a request calls the model."""
        return self.served.name if self.served is not None and not self.notices else self.wanted

    @property
    def error_context(self) -> ErrorContext:
        """For the messages of errors."""
        connection = self.connection
        return ErrorContext(
            address=connection.address,
            model=(self.served.label if self.served is not None else self.wanted) or "a model",
            to_get_model=f"To see what it has, type: %llm connect {connection.address.url}",
            to_raise_context=dialect(self.identity.kind).to_raise_context,
            redact=connection.redact,
        )

    def is_served_as(self, name: str) -> bool:
        """Whether an answer of NAME is one of this model; some servers append a version."""
        served = self.served
        return served is None or name == self.name or served.is_called(name) or name.startswith(served.name)


def find_endpoint(connection: Connection, wanted: str, stop: Stop) -> Endpoint:
    """The model WANTED of the server; one that cannot be identified is used as it is.

    Raises:
        LocalLLMError: It cannot be reached, or WANTED is empty and it wants a key or has several models.
        Stopped: STOP was set.
    """
    try:
        identity = identify(connection, stop)
    except DaemonNotReachable:
        raise
    except DaemonError as exc:
        if isinstance(exc, AccessDenied) and not wanted:  # else it may only be the list that is forbidden
            raise
        identity = Identity(kind=ServerKind.OTHER, base=usual_base(connection.address))
    served = _find_model(identity, wanted, connection.address.url)
    return Endpoint(connection=connection, identity=identity, wanted=wanted, served=served)


def _find_model(identity: Identity, wanted: str, url: str) -> ServedModel | None:
    models = identity.models
    if not wanted:
        labels = {model.label: model for model in models}
        loaded = [label for label, model in labels.items() if model.status in LOADED]
        label = sole_model(loaded, list(labels), server=url, scheme="openai", url=url)
        return None if label is None else labels[label]
    is_sole = len(models) == 1 and dialect(identity.kind).ignores_model_name
    return next((model for model in models if model.is_called(wanted)), models[0] if is_sole else None)
