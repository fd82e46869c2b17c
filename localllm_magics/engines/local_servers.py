"""The servers that people run on their own machine: where they listen, and how they are started."""

from dataclasses import dataclass

from localllm_magics.core.address import Address
from localllm_magics.engines.ollama.address import DEFAULT_PORT, ollama_address


@dataclass(frozen=True, slots=True)
class LocalServer:
    """Servers that listen on PORTS by default; COMMAND starts one on `{port}`."""

    name: str
    ports: tuple[int, ...]
    command: str


LOCAL_SERVERS = (
    LocalServer("llama-server, llamafile", (8080, 9931), "llama-server -m model.gguf --port {port}"),
    LocalServer("llama_cpp.server, vLLM", (8000,), "python -m llama_cpp.server --model model.gguf --port {port}"),
    LocalServer("LM Studio", (1234,), "lms server start --port {port}"),
)
_WEB_PORTS = (80, 443)  # of an address without one


def how_to_start(address: Address, *, is_ollama: bool = False) -> str:
    """What to type so that a server, perhaps an Ollama, runs at ADDRESS."""
    if address.is_loopback and address.port in _WEB_PORTS:
        return "Add the port, for example: %llm connect http://127.0.0.1:8080"
    if not address.is_loopback:
        return f"Is the address right, and the server running? Type: %llm connect {address.url}"
    if is_ollama or address == ollama_address() or address.port == DEFAULT_PORT:
        host = "" if address.netloc == f"127.0.0.1:{DEFAULT_PORT}" else f"OLLAMA_HOST={address.netloc} "
        return f"To start Ollama, type in a terminal: {host}ollama serve"
    server = next((server for server in LOCAL_SERVERS if address.port in server.ports), LOCAL_SERVERS[0])
    return f"Start the server, for example: {server.command.format(port=address.port)}"
