"""API keys: from the environment only, and only to the server that they are meant for."""

import os
from collections.abc import Mapping

from localllm_magics.engines.daemon.address import Address

VARIABLE = "LOCALLLM_API_KEY"
_LOCAL_VARIABLES = ("LLAMA_API_KEY", "VLLM_API_KEY", "OPENAI_API_KEY")


def find_key(
    address: Address, variables: Mapping[str, str] | None = None, environment: Mapping[str, str] = os.environ
) -> str | None:
    """The key for ADDRESS, or None.

    Keys that are meant for servers and clients in general go to servers on this machine only.

    Args:
        address: The server.
        variables: Names of environment variables by the URL of the server that they hold the key of.
        environment: Where the keys are.
    """
    own = [name for url, name in (variables or {}).items() if Address.from_text(url) == address]
    names = [*own, VARIABLE, *(_LOCAL_VARIABLES if address.is_loopback else ())]
    return next((value for name in names if (value := environment.get(name, "").strip())), None)
