"""What the user has set for all servers, API keys included."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from localllm_magics.core.address import KEY_VARIABLE, Address

TO_SET_KEY = f'Set the key in a terminal before Jupyter starts: export {KEY_VARIABLE}="…"'

TO_SET_PASSWORD = TO_SET_KEY.replace("the key", "user and password").replace("…", "Basic USER:PASSWORD")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Settings for servers.

    Args:
        addresses: URLs of servers to look for models on, beside the usual ones.
        key_variables: Names of environment variables with API keys, by URL.
        ca_file: A file of certificates to trust on top of the system's.
        keep_alive: How long a server that unloads idle models keeps one, such as `10m`; empty leaves it to the server.
    """

    addresses: tuple[str, ...] = ()
    key_variables: Mapping[str, str] = field(default_factory=dict)
    ca_file: str = ""
    keep_alive: str = ""

    def find_key(self, address: Address, environment: Mapping[str, str] = os.environ) -> str | None:
        """The API key for the server at ADDRESS, from the environment only.

        Other programs' variables, such as OPENAI_API_KEY, count only where the user has mapped them.
        """
        own = [name for url, name in self.key_variables.items() if Address.from_text(url) == address]
        return next((value for name in (*own, KEY_VARIABLE) if (value := environment.get(name, "").strip())), None)
