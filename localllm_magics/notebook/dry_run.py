"""A dry run, shown: the exact prompt, its tokens, and what would be used."""

import json
import re
import textwrap
from dataclasses import asdict

from localllm_magics.core.presentation import noted, to_safe_markdown
from localllm_magics.core.sanitizer.control import strip_control
from localllm_magics.engines.base import Preview

Block = tuple[str, str, str]
"""A title, which may be empty, the kind of a text, and the text."""


def to_bundle(preview: Preview) -> dict[str, object]:
    """PREVIEW by media type: the prompt, or the messages where only the server can render it."""
    prompts = [("", "text", preview.prompt)] if preview.prompt or not preview.sent else _messages(preview.sent)
    tokens = " ".join(f"{strip_control(text)!r}:{id_}" for id_, text in preview.tokens)
    others = [("", "text", tokens), ("The body of the request", "json", preview.sent)]
    below = [block for block in others if block[-1]]
    summary = "\n\n".join([_summary(preview), *map(strip_control, noted(preview.notices))])
    plain = [*map(_to_plain, prompts), summary, *map(_to_plain, below)]
    markdown = [*map(_to_markdown, prompts), summary, *map(_to_markdown, below)]
    return {
        "text/plain": "\n\n".join(filter(None, plain)),
        "text/markdown": to_safe_markdown("\n\n".join(markdown)),
    }


def _messages(sent: str) -> list[Block]:
    """Each message in SENT, the body of a request."""
    body = json.loads(sent)
    messages = body.get("messages") or [{"content": body.get("prompt", "")}]
    return [(message.get("role", ""), "text", _to_text(message["content"])) for message in messages]


def _to_text(content: object) -> str:
    return content if isinstance(content, str) else json.dumps(content, indent=2, ensure_ascii=False)


def _to_plain(block: Block) -> str:
    title, _, text = block
    shown = strip_control(text)
    return f"{title}:\n{textwrap.indent(shown, '  ')}" if title else shown


def _to_markdown(block: Block) -> str:
    title, kind, text = block
    shown = strip_control(text)
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=2) + 1)
    fenced = f"{fence}{kind}\n{shown}\n{fence}"
    return f"**{title}**\n\n{fenced}" if title else fenced


def _to_words(value: object) -> str:
    return " ".join(map(repr, value)) if isinstance(value, tuple) else str(value)


def _summary(preview: Preview) -> str:
    """What would be used, in sentences."""
    tokens = f"{len(preview.tokens):,} tokens of {preview.context:,}" if preview.tokens else ""
    options = asdict(preview.sampling).items()
    used = [f"{name} {_to_words(value)}" for name, value in options if value not in (None, ())]
    parts = "; ".join(filter(None, [tokens, ", ".join(used)]))
    hidden = "" if preview.prompt or not preview.sent else "The server does not show its prompt"
    return ". ".join(filter(None, [parts, hidden, "Nothing was generated."]))
