"""The bundled model: a tiny demonstration, not an assistant."""

from pathlib import Path

PATH = Path(__file__).with_name("demo.gguf")
