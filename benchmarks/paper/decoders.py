"""The language models of the compared methods, in their true geometry.

Sizes are those of the published config.json of each; mlx-lm builds them.
"""

from dataclasses import replace

from fastvlm_mlx.config import TextConfig
from fastvlm_mlx.planning.geometry import published_config

_QWEN2 = published_config("0.5b").text_config


def _llama(
    hidden_size: int,
    layers: int,
    intermediate_size: int,
    heads: int,
    kv_heads: int,
    vocab_size: int,
) -> TextConfig:
    return TextConfig(
        model_type="llama",
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        intermediate_size=intermediate_size,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=vocab_size,
        rope_theta=1e4,
    )


DECODERS: dict[str, TextConfig] = {
    "Qwen2-0.5B": _QWEN2,
    "Qwen2-1.5B": published_config("1.5b").text_config,
    "Qwen2-7B": published_config("7b").text_config,
    "Qwen1.5-0.5B": replace(
        _QWEN2,
        hidden_size=1024,
        intermediate_size=2816,
        num_attention_heads=16,
        num_key_value_heads=16,
    ),
    "Vicuna-7B": _llama(4096, 32, 11008, 32, 32, vocab_size=32000),
    "Llama-3-8B": _llama(4096, 32, 14336, 32, 8, vocab_size=128256),
    "MobileLLaMA-1.4B": _llama(2048, 24, 5632, 16, 16, vocab_size=32000),
}
