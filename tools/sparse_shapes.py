"""Real shapes of models, some of each kind that a plan treats differently.

python -m tools.sparse_shapes llama-8b OUT.gguf
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from localllm_magics.engines.sparse_gguf import write_sparse
from tools.sparse_layouts import Shape, to_model

_JAMBA = [8 if layer % 8 == 4 else 0 for layer in range(32)]
_LFM = [8 if layer in {2, 5, 8, 10, 12, 14} else 0 for layer in range(16)]
_GRANITE = [4 if layer in {5, 15, 25, 35} else 0 for layer in range(40)]

_SHAPES: Mapping[str, Shape] = {
    "llama-1b": Shape(
        architecture="llama",
        layers=16,
        width=2048,
        inner=8192,
        heads=32,
        kv_heads=8,
        head=64,
        vocabulary=128_256,
        tied=True,
    ),
    "llama-8b": Shape(
        architecture="llama", layers=32, width=4096, inner=14336, heads=32, kv_heads=8, vocabulary=128_256, type="Q4_K"
    ),
    "llama-70b": Shape(
        architecture="llama", layers=80, width=8192, inner=28672, heads=64, kv_heads=8, vocabulary=128_256
    ),
    "qwen2-0.5b": Shape(
        architecture="qwen2",
        layers=24,
        width=896,
        inner=4864,
        heads=14,
        kv_heads=2,
        head=64,
        vocabulary=151_936,
        tied=True,
        type="Q8_0",
    ),
    "qwen2-7b": Shape(
        architecture="qwen2", layers=28, width=3584, inner=18944, heads=28, kv_heads=4, vocabulary=152_064
    ),
    "qwen3-4b": Shape(
        architecture="qwen3",
        layers=36,
        width=2560,
        inner=9728,
        heads=32,
        kv_heads=8,
        vocabulary=151_936,
        tied=True,
        type="Q6_K",
    ),
    "mixtral-8x7b": Shape(
        architecture="llama", layers=32, width=4096, inner=14336, heads=32, kv_heads=8, experts=8, used=2
    ),
    "qwen3-30b-a3b": Shape(
        architecture="qwen3moe",
        layers=48,
        width=2048,
        inner=768,
        heads=32,
        kv_heads=4,
        vocabulary=151_936,
        experts=128,
        used=8,
        type="Q4_K",
    ),
    "gpt-oss-20b": Shape(
        architecture="gpt-oss",
        layers=24,
        width=2880,
        inner=2880,
        heads=64,
        kv_heads=8,
        head=64,
        vocabulary=201_088,
        experts=32,
        used=4,
        type="MXFP4",
        keys={"attention.sliding_window": 128},
    ),
    "gemma2-9b": Shape(
        architecture="gemma2",
        layers=42,
        width=3584,
        inner=14336,
        heads=16,
        kv_heads=8,
        head=256,
        vocabulary=256_000,
        tied=True,
        keys={"attention.sliding_window": 4096, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    ),
    "gemma3-4b": Shape(
        architecture="gemma3",
        layers=34,
        width=2560,
        inner=10240,
        heads=8,
        kv_heads=4,
        head=256,
        vocabulary=262_144,
        tied=True,
        keys={"attention.sliding_window": 1024},
    ),
    "deepseek2-lite": Shape(
        architecture="deepseek2",
        layers=27,
        width=2048,
        inner=1408,
        heads=16,
        kv_heads=1,
        head=576,
        vocabulary=102_400,
        experts=64,
        used=6,
        keys={
            "feed_forward_length": 10944,
            "attention.kv_lora_rank": 512,
            "attention.key_length_mla": 192,
            "attention.value_length_mla": 128,
            "attention.value_length": 512,
            "rope.dimension_count": 64,
            "leading_dense_block_count": 1,
            "expert_shared_count": 2,
            "expert_weights_scale": 1.0,
        },
    ),
    "mamba-2.8b": Shape(
        architecture="mamba",
        layers=64,
        width=2560,
        vocabulary=50_280,
        tied=True,
        keys={
            "ssm.conv_kernel": 4,
            "ssm.inner_size": 5120,
            "ssm.state_size": 16,
            "ssm.time_step_rank": 160,
            "attention.head_count": 0,
            "feed_forward_length": 0,
        },
    ),
    "falcon-h1-7b": Shape(
        architecture="falcon-h1",
        layers=44,
        width=3072,
        inner=12288,
        heads=12,
        kv_heads=2,
        vocabulary=130_048,
        keys={
            "ssm.conv_kernel": 4,
            "ssm.inner_size": 3072,
            "ssm.state_size": 256,
            "ssm.group_count": 1,
            "ssm.time_step_rank": 24,
        },
    ),
    "granite-h-tiny": Shape(
        architecture="granitehybrid",
        layers=40,
        width=1536,
        inner=512,
        heads=12,
        kv_heads=4,
        vocabulary=100_352,
        experts=64,
        used=6,
        tied=True,
        keys={
            "attention.head_count_kv": _GRANITE,
            "ssm.conv_kernel": 4,
            "ssm.inner_size": 3072,
            "ssm.state_size": 128,
            "ssm.group_count": 1,
            "ssm.time_step_rank": 48,
            "expert_shared_feed_forward_length": 1024,
        },
    ),
    "jamba-mini": Shape(
        architecture="jamba",
        layers=32,
        width=4096,
        inner=14336,
        heads=32,
        kv_heads=8,
        vocabulary=65_536,
        experts=16,
        used=2,
        keys={
            "attention.head_count_kv": _JAMBA,
            "ssm.conv_kernel": 4,
            "ssm.inner_size": 8192,
            "ssm.state_size": 16,
            "ssm.time_step_rank": 256,
        },
    ),
    "qwen3-next-80b": Shape(
        architecture="qwen3next",
        layers=48,
        width=2048,
        inner=512,
        heads=16,
        kv_heads=2,
        head=256,
        vocabulary=151_936,
        experts=512,
        used=10,
        type="Q4_K",
        keys={
            "ssm.conv_kernel": 4,
            "ssm.inner_size": 4096,
            "ssm.state_size": 128,
            "ssm.group_count": 16,
            "ssm.time_step_rank": 32,
            "expert_shared_feed_forward_length": 512,
            "rope.dimension_count": 64,
        },
    ),
    "lfm2-1.2b": Shape(
        architecture="lfm2",
        layers=16,
        width=2048,
        inner=8192,
        heads=32,
        kv_heads=8,
        head=64,
        vocabulary=65_536,
        tied=True,
        keys={"attention.head_count_kv": _LFM, "shortconv.l_cache": 3},
    ),
    "rwkv7-2.9b": Shape(
        architecture="rwkv7",
        layers=32,
        width=2560,
        inner=10_240,
        vocabulary=65_536,
        keys={
            "attention.head_count": 0,
            "attention.layer_norm_epsilon": 1e-5,
            "wkv.head_size": 64,
            "attention.decay_lora_rank": 96,
            "attention.iclr_lora_rank": 96,
            "attention.value_residual_mix_lora_rank": 64,
            "attention.gate_lora_rank": 320,
        },
    ),
}

SHAPES: Mapping[str, Shape] = {
    **_SHAPES,
    "nemo-12b": replace(_SHAPES["llama-8b"], layers=40, width=5120, vocabulary=131_072),
    "qwen3-0.6b": replace(_SHAPES["qwen3-4b"], layers=28, width=1024, inner=3072, heads=16, type="Q8_0"),
    "qwen3-235b-a22b": replace(_SHAPES["qwen3-30b-a3b"], layers=94, width=4096, inner=1536, heads=64),
    "gemma3-27b": replace(_SHAPES["gemma3-4b"], layers=62, width=5376, inner=21_504, heads=32, kv_heads=16, head=128),
    "deepseek-v3": replace(
        _SHAPES["deepseek2-lite"],
        layers=61,
        width=7168,
        inner=2048,
        heads=128,
        vocabulary=129_280,
        experts=256,
        used=8,
        keys={
            **_SHAPES["deepseek2-lite"].keys,
            "feed_forward_length": 18_432,
            "attention.q_lora_rank": 1536,
            "leading_dense_block_count": 3,
            "expert_shared_count": 1,
        },
    ),
}


def main(name: str, out: str) -> None:
    """Write the file of a shape."""
    print(f"{write_sparse(to_model(SHAPES[name]), Path(out)) / 1e9:.1f} GB, and hardly any on disk")


if __name__ == "__main__":
    main(*sys.argv[1:])
