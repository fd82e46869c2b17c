"""What a file is that is not GGUF, by its first bytes."""

from localllm_magics.core.hints import DOWNLOAD_AGAIN, LIST_MODELS

_CONVERT = "llama.cpp's `convert_hf_to_gguf.py` makes a GGUF file of the original model."
_WEB_PAGE = "Download the model itself: on Hugging Face the link has `/resolve/`, not `/blob/`."
_FORMATS: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer, the model itself was not downloaded",
        "Type in a terminal: `git lfs pull`",
    ),
    (b"<!doctype html", "an HTML page", _WEB_PAGE),
    (b"<html", "an HTML page", _WEB_PAGE),
    (b"pk\x03\x04", "a zip archive, perhaps a PyTorch checkpoint", _CONVERT),
    (b"\x80\x02", "a Python pickle, perhaps a PyTorch checkpoint", _CONVERT),
    (b"lmgg", "of the GGML format that came before GGUF", _CONVERT),
    (b"fmgg", "of the GGML format that came before GGUF", _CONVERT),
    (b"tjgg", "of the GGML format that came before GGUF", _CONVERT),
    (b"\x1f\x8b", "a gzip archive", "Unpack it: gunzip FILE"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "Unpack it: unzstd FILE"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "Unpack it: 7z x FILE"),
    (b"\x7felf", "a program", LIST_MODELS),
    (b"mzqfpd", "a llamafile", "Give it a name that ends in .llamafile"),
    (b"mz", "a program", LIST_MODELS),
    (b"{", "a JSON file", LIST_MODELS),
)


def detect_format(start: bytes) -> tuple[str, str]:
    """What the file seems to be, and a hint."""
    if not start:
        return "empty", DOWNLOAD_AGAIN
    if start[4:9] == b"\0\0\0\0{":
        return "a safetensors file", _CONVERT
    if not start.strip(b"\0"):
        return "nothing but zeros at its beginning", DOWNLOAD_AGAIN
    text = start.lstrip().lower()
    for magic, what, hint in _FORMATS:
        if text.startswith(magic):
            return what, hint
    words = "".join(start.decode("utf-8", "ignore").split())
    if words and words.isprintable():
        return "a text file", LIST_MODELS
    return f"of an unknown kind, it begins with {start[:4].hex(' ')}", LIST_MODELS
