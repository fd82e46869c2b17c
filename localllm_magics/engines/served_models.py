"""Descriptions of models on servers, of which only the name is known."""

from localllm_magics.core.address import Address
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.engines.ollama.address import ollama_address


def ollama_model(name: str, address: Address, reference: str = "") -> ModelInfo:
    """A model of the Ollama at ADDRESS, which the default reference leaves out where it is the configured one."""
    own = f"ollama:{name}" if address == ollama_address() else f"ollama:{name}@{address.url}"
    return ModelInfo(
        reference=reference or own, name=name, source="daemon", kind="chat", engine="ollama", address=address
    )


def openai_model(name: str, address: Address, reference: str = "") -> ModelInfo:
    """A model of the OpenAI-compatible server at ADDRESS."""
    own = f"openai:{name}@{address.url}"
    return ModelInfo(
        reference=reference or own, name=name, source="daemon", kind="chat", engine="openai", address=address
    )
