"""What the user has set for all servers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

KEY_VARIABLE = "LOCALLLM_API_KEY"
"""The environment variable with the key for servers that have none of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Settings for servers.

    Args:
        addresses: URLs of servers to look for models on, beside the usual ones.
        key_variables: Names of environment variables with API keys, by URL.
        ca_file: A file of certificates to trust on top of the system's.
        keep_alive: How long Ollama keeps a model after an answer, such as `10m`; empty leaves it to Ollama.
    """

    addresses: tuple[str, ...] = ()
    key_variables: Mapping[str, str] = field(default_factory=dict)
    ca_file: str = ""
    keep_alive: str = ""
