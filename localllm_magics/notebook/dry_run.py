"""A dry run, shown: the exact prompt, its tokens, and what would be used."""

import re
from dataclasses import asdict

from localllm_magics.core.sanitizer.control import strip_control
from localllm_magics.engines.base import Preview


def to_bundle(preview: Preview) -> dict[str, object]:
    """PREVIEW by media type."""
    from localllm_magics.core.sanitizer.markdown import to_safe_markdown  # its patterns would slow %load_ext down

    prompt = strip_control(preview.prompt)
    summary = "\n\n".join([_summary(preview), *map(strip_control, preview.notices)])
    tokens = " ".join(f"{strip_control(text)!r}:{id_}" for id_, text in preview.tokens)
    sent = strip_control(preview.sent)
    fence = "`" * (max(map(len, re.findall("`+", prompt)), default=2) + 4)
    blocks = [f"{fence}{kind}\n{block}\n{fence}" for kind, block in (("text", tokens), ("json", sent)) if block]
    markdown = "\n\n".join([f"{fence}text\n{prompt}\n{fence}", summary, *blocks])
    plain = "\n\n".join(part for part in (prompt, summary, tokens, sent) if part)
    return {"text/plain": plain, "text/markdown": to_safe_markdown(markdown)}


def _summary(preview: Preview) -> str:
    sampling = asdict(preview.sampling).items()
    used = ", ".join(f"{name} {value}" for name, value in sampling if value not in (None, ()))
    size = f"{len(preview.tokens):,} tokens of {preview.context:,}; " if preview.tokens else ""
    return f"{size}{used}. Nothing was generated."
