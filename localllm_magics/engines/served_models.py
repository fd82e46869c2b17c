"""Descriptions of models on servers, of which only the name is known."""

from localllm_magics.core.address import Address
from localllm_magics.core.completion import EngineName
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.engines.ollama.address import ollama_address


def ollama_model(name: str, address: Address, reference: str = "") -> ModelInfo:
    """A model of the Ollama at ADDRESS, which the default reference leaves out where it is the configured one."""
    own = f"ollama:{name}" if address == ollama_address() else f"ollama:{name}@{address.url}"
    return _model(name, address, reference or own, "ollama")


def openai_model(name: str, address: Address, reference: str = "") -> ModelInfo:
    """A model of the OpenAI-compatible server at ADDRESS."""
    return _model(name, address, reference or f"openai:{name}@{address.url}", "openai")


def _model(name: str, address: Address, reference: str, engine: EngineName) -> ModelInfo:
    return ModelInfo(reference=reference, name=name, source="daemon", kind="chat", engine=engine, address=address)
