"""The options of all commands, declared once: parsing, help, completion and documentation follow from here."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from keyword import iskeyword
from typing import TypeAlias

from localllm_magics.core.request import KV_TYPES, LOAD_EXAMPLES
from localllm_magics.core.sampling import SAMPLING_OPTIONS
from localllm_magics.notebook.references import matching_references
from localllm_magics.session import Session

Completes: TypeAlias = Callable[[str, Session], Iterable[str]]
"""What Tab offers for a word that begins so; what does not begin so is left out."""
_ESCAPES = {r"\n": "\n", r"\t": "\t", r"\r": "\r", r"\\": "\\"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of a magic.

    Args:
        flags: How it is typed, the long name last.
        help: What it does, in a few words.
        metavar: Name of its value, empty for a switch.
        convert: Makes the value from a word; raises ValueError.
        alone: The value of the option without one, where that is allowed.
        example: A value that works, for the error message.
        repeats: Whether it may be given several times.
        excludes: Flags of options that it cannot be used with.
        completes: What Tab offers for its value.
    """

    flags: tuple[str, ...]
    help: str
    metavar: str = ""
    convert: Callable[[str], object] = str
    alone: object = None
    example: str = ""
    repeats: bool = False
    excludes: tuple[str, ...] = ()
    completes: Completes = lambda _word, _session: ()

    @property
    def name(self) -> str:
        """The long name as a Python identifier."""
        return self.flags[-1].lstrip("-").replace("-", "_")

    @property
    def usage(self) -> str:
        """How it is typed, with its value."""
        value = self.metavar if self.alone is None else f"[{self.metavar}]"
        return f"{', '.join(self.flags)} {value}".strip()


def _variable(word: str) -> str:
    if iskeyword(word) or not word.isidentifier():
        raise ValueError(word)
    return word


def _unescaped(word: str) -> str:
    r"""WORD with \n, \t, \r and \\ as the characters that they stand for in Python."""
    return re.sub(r"\\[ntr\\]", lambda escape: _ESCAPES[escape[0]], word)


MODEL = Option(
    flags=("-m", "--model"),
    metavar="REF",
    completes=matching_references,
    example="demo",
    help="the model; see %llm models",
)
SAMPLING = tuple(
    Option(
        flags=row.flags,
        metavar=row.metavar,
        convert=_unescaped if row.type is str else row.type,
        example=row.example,
        repeats=row.type is str,
        help=row.help,
    )
    for row in SAMPLING_OPTIONS
)
LOADING = (
    Option(flags=("--ctx",), metavar="N", convert=int, example=LOAD_EXAMPLES["ctx"], help="context size in tokens"),
    Option(
        flags=("--gpu-layers",),
        metavar="N|auto|all",
        convert=lambda word: word if word in ("auto", "all") else int(word),
        example=LOAD_EXAMPLES["gpu_layers"],
        completes=lambda _word, _session: ("auto", "all"),
        help="how many layers to put on a GPU",
    ),
    Option(
        flags=("--cpu-moe",),
        metavar="N|all",
        convert=lambda word: word if word == "all" else int(word),
        alone="all",
        example=LOAD_EXAMPLES["cpu_moe"],
        completes=lambda _word, _session: ("all",),
        help="keep the experts of all layers on the CPU, or of the first N; a number or `all` after it is its value",
    ),
    Option(
        flags=("--kv-type",),
        metavar="TYPE",
        example=LOAD_EXAMPLES["kv_type"],
        completes=lambda _word, _session: KV_TYPES,
        help="the type of the KV cache, such as q8_0",
    ),
    Option(flags=("--threads",), metavar="N", convert=int, example=LOAD_EXAMPLES["threads"], help="CPU threads"),
    Option(flags=("--force",), help="load although the plan says that it does not fit"),
)
PIN = Option(flags=("--pin",), help="keep it in memory until it is unloaded, whatever room others need")
ASKING = (
    MODEL,
    Option(
        flags=("-o", "--out"),
        metavar="NAME",
        convert=_variable,
        example="answer",
        help="store the completion in this variable",
    ),
    Option(flags=("-s", "--system"), metavar="TEXT", example='"Be brief."', help="the system prompt"),
    *SAMPLING,
    Option(flags=("--raw",), help="no chat template: continue the text"),
    Option(flags=("--no-vars",), help="leave {{ expr }} as it is"),
    Option(flags=("--dry-run",), help="show the exact prompt and its tokens, generate nothing"),
    Option(
        flags=("--code",), excludes=("--background",), help="put the first code block of the answer into the next cell"
    ),
    Option(flags=("-b", "--background"), help="return immediately; the card fills while the kernel is free"),
    *LOADING,
    Option(flags=("--think",), excludes=("--no-think",), help="let a reasoning model reason"),
    Option(flags=("--no-think",), help="let a reasoning model answer without reasoning"),
    Option(flags=("--no-raise",), help="show an error without failing the cell"),
)
HELP = Option(flags=("-h", "--help"), help="show the options")
_BELOW = "Write the prompt below the line with %%llm, or after %llm ask."
_CONVERSATION = "Conversations are still to come; until then, put what was said into the prompt: {{ _llm.text }}"
_SCHEMA = "From Python, a server follows a schema: model.complete(prompt, schema={...})."
OTHER_NAMES: Mapping[str, str] = {
    "temp": "--temperature",
    **dict.fromkeys(("predict", "n-predict", "num-predict", "max-new-tokens", "max-length"), "--max-tokens"),
    **dict.fromkeys(("max-completion-tokens", "max-output-tokens", "tokens", "limit"), "--max-tokens"),
    **dict.fromkeys(("repetition-penalty", "frequency-penalty", "presence-penalty"), "--repeat-penalty"),
    **dict.fromkeys(("r", "reverse-prompt", "stop-sequence", "stop-token"), "--stop"),
    **dict.fromkeys(("random-seed", "rng-seed"), "--seed"),
    **dict.fromkeys(("sys", "system-prompt", "system-message", "instruction"), "--system"),
    **dict.fromkeys(("ctx-size", "n-ctx", "num-ctx", "context", "context-size", "context-length"), "--ctx"),
    **dict.fromkeys(("c", "max-model-len"), "--ctx"),
    **dict.fromkeys(("ngl", "n-gpu-layers", "num-gpu", "layers"), "--gpu-layers"),
    **dict.fromkeys(("cmoe", "ncmoe", "n-cpu-moe", "cpu-experts", "experts-on-cpu"), "--cpu-moe"),
    **dict.fromkeys(("ctk", "ctv", "cache-type", "cache-type-k", "cache-type-v", "kv-cache-type"), "--kv-type"),
    **dict.fromkeys(("type-k", "type-v", "kv-quant", "kv-cache"), "--kv-type"),
    **dict.fromkeys(("load-anyway", "ignore-memory", "no-check"), "--force"),
    **dict.fromkeys(("tb", "threads-batch", "n-threads", "num-thread", "nthreads", "cpus"), "--threads"),
    **dict.fromkeys(("output", "var", "variable", "store"), "--out"),
    **dict.fromkeys(("reasoning", "thinking", "enable-thinking", "reasoning-effort"), "--think"),
    **dict.fromkeys(("disable-thinking", "no-reasoning", "no-thinking"), "--no-think"),
    **dict.fromkeys(("bg", "async", "nowait"), "--background"),
    **dict.fromkeys(("dry", "preview", "show-prompt"), "--dry-run"),
    **dict.fromkeys(("no-template", "no-chat-template", "no-cnv", "completion"), "--raw"),
    **dict.fromkeys(("no-interpolation", "no-expand", "no-variables"), "--no-vars"),
    **dict.fromkeys(("p", "prompt", "f", "file", "message"), _BELOW),
    **dict.fromkeys(("host", "url", "base-url", "api-base", "server"), "Write the address as the model."),
    **dict.fromkeys(("key", "api-key", "token"), "Put the key into the environment variable LOCALLLM_API_KEY."),
    **dict.fromkeys(("stream", "no-stream"), "Type: %config LocalLLM.stream = False"),
    **dict.fromkeys(("keep-alive", "keepalive"), 'Type: %config LocalLLM.keep_alive = "10m"'),
    **dict.fromkeys(("ttl", "idle-ttl"), 'Type: %config LocalLLM.idle_ttl = "30m"'),
    "memory-limit": 'Type: %config LocalLLM.memory_limit = "8 GB"',
    **dict.fromkeys(("thread", "conversation", "history", "cnv"), _CONVERSATION),
    **dict.fromkeys(("schema", "json-schema", "json", "format", "grammar"), _SCHEMA),
}
"""What other programs call an option, or a mistyped one is called, and our name of it or what to do instead."""
