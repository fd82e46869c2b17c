"""API keys: from the environment only, and only to the servers that they are meant for."""

import os
from collections.abc import Mapping

from localllm_magics.engines.server.address import Address
from localllm_magics.engines.server.settings import KEY_VARIABLE

TO_SET_KEY = f'Set the key in a terminal before Jupyter starts: export {KEY_VARIABLE}="…"'


def find_key(
    address: Address, variables: Mapping[str, str] | None = None, environment: Mapping[str, str] = os.environ
) -> str | None:
    """The key for ADDRESS, or None.

    Other programs' variables, such as OPENAI_API_KEY, count only where the user has mapped them.

    Args:
        address: The server.
        variables: Names of environment variables by the URL of the server that they hold the key of.
        environment: Where the keys are.
    """
    own = [name for url, name in (variables or {}).items() if Address.from_text(url) == address]
    return next((value for name in (*own, KEY_VARIABLE) if (value := environment.get(name, "").strip())), None)
