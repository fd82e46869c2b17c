"""Write the trained demo model as GGUF.

python -m tools.train_demo_model.export WORK_DIR TARGET.gguf [--type q8_0|f32]
"""

import argparse
import json
from pathlib import Path

import gguf
import torch
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType

from tools.train_demo_model.llama import Shape

TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
DESCRIPTION = "A tiny demonstration model, trained on text written by a small program; it is not an assistant."


def write_about(writer: GGUFWriter) -> None:
    """Who made the model, and what it is."""
    writer.add_name("demo")
    writer.add_description(DESCRIPTION)
    writer.add_author("the localllm-magics developers")
    writer.add_license("mit")
    writer.add_size_label("3M")
    writer.add_languages(["en"])
    writer.add_tags(["text-generation"])


def write_shape(writer: GGUFWriter, shape: Shape) -> None:
    """The sizes that llama.cpp needs."""
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_vocab_size(shape.vocab)


def write_tokenizer(writer: GGUFWriter, path: Path) -> None:
    """The vocabulary, whose special tokens are control tokens, and the chat template."""
    saved = json.loads(path.read_text(encoding="utf-8"))
    vocab: dict[str, int] = saved["model"]["vocab"]
    special = {token["content"] for token in saved["added_tokens"]}
    tokens = sorted(vocab, key=lambda token: vocab[token])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if token in special else TokenType.NORMAL for token in tokens])
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in saved["model"]["merges"]]
    )
    writer.add_bos_token_id(vocab["<|endoftext|>"])
    writer.add_eos_token_id(vocab["<|im_end|>"])
    writer.add_eot_token_id(vocab["<|im_end|>"])
    writer.add_pad_token_id(vocab["<|endoftext|>"])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(TEMPLATE)


def write_weights(writer: GGUFWriter, weights: dict[str, torch.Tensor], kind: str) -> None:
    """Matrices in the wanted type, norms in F32."""
    for name, weight in weights.items():
        data = weight.float().numpy()
        if data.ndim == 2 and kind == "q8_0":
            writer.add_tensor(name, gguf.quantize(data, GGMLQuantizationType.Q8_0), raw_dtype=GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, data)


def export(work: Path, target: Path, kind: str) -> None:
    """The model in WORK as one GGUF file."""
    saved = torch.load(work / "model.pt", weights_only=True)
    writer = GGUFWriter(target, "llama")
    write_about(writer)
    write_shape(writer, Shape(**saved["shape"]))
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0 if kind == "q8_0" else LlamaFileType.ALL_F32)
    write_tokenizer(writer, work / "tokenizer.json")
    write_weights(writer, saved["weights"], kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Write the trained demo model as GGUF.")
    parser.add_argument("work", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--type", choices=["q8_0", "f32"], default="q8_0")
    options = parser.parse_args()
    export(options.work, options.target, options.type)


if __name__ == "__main__":
    main()
