"""The configurations that Apple publishes, as numbers: sizes, tying, tokens.

Written down as facts (sizes of FastVLM-0.5B, its MLX exports and the 1.5B zip), with no
file of Apple's: their weights are under a research licence.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from convert.architecture import read_text_config, tied_head
from convert.names import LANGUAGE
from convert.source import Source, Tensors
from convert.tokenizer import read_tokenizer
from fastvlm_mlx.device.backend import mx
from tests.convert.folders import GOLDENS


@dataclass(frozen=True)
class Published:
    """What one repository says."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool  # the flag
    image: int  # the id of <image>: stated, or the first one free
    added: int  # tokens of added_tokens.json without <image>
    bits: int | None = None
    stated_image: bool = False

    @property
    def config(self) -> dict[str, Any]:
        """config.json, of the keys that are read."""
        values: dict[str, Any] = {
            "model_type": "llava_qwen2",
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": self.tied,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-6,
            "rope_theta": 1e6,
            "max_position_embeddings": 32768,
            "use_sliding_window": False,
            "image_aspect_ratio": "pad",
            "image_grid_pinpoints": None,
            "mm_projector_lr": None,
            "mm_hidden_size": 3072,
            "mm_projector_type": "mlp2x_gelu",
            "mm_use_im_patch_token": False,
            "mm_use_im_start_end": False,
            "mm_vision_select_layer": -2,
            "mm_vision_tower": "mobileclip_l_1024",
            "tokenizer_model_max_length": 8192,
            "eos_token_id": 151645,
        }
        if self.bits:
            values |= {"quantization": {"group_size": 64, "bits": self.bits}}
            values |= {"vision_config": {}}
        return values | ({"image_token_index": self.image} if self.stated_image else {})


PUBLISHED = {
    "FastVLM-0.5B": Published(896, 4864, 24, 14, 2, 151936, True, 151646, 3),
    "1.5B stage 3": Published(1536, 8960, 28, 12, 2, 151936, True, 151646, 3),
    "0.5B-fp16": Published(
        896, 4864, 24, 14, 2, 151936, False, 151646, 3, stated_image=True
    ),
    "1.5B-int8": Published(
        1536, 8960, 28, 12, 2, 151936, False, 151646, 3, bits=8, stated_image=True
    ),
    "7B-int4": Published(
        3584, 18944, 28, 28, 4, 152064, False, 151665, 22, bits=4, stated_image=True
    ),
}


@pytest.fixture(params=PUBLISHED, ids=str)
def published(request: pytest.FixtureRequest) -> Published:
    """One of the repositories."""
    return PUBLISHED[request.param]


def test_sizes(published: Published, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(published.config))
    text = read_text_config(Source(tmp_path))
    assert (text.model_type, text.hidden_size) == ("qwen2", published.hidden)
    assert (text.num_hidden_layers, text.vocab_size) == (
        published.layers,
        published.vocabulary,
    )
    assert (text.num_attention_heads, text.num_key_value_heads) == (
        published.heads,
        published.kv_heads,
    )
    assert (text.rope_theta, text.max_position_embeddings) == (1e6, 32768)


def test_without_a_head_the_flag_is_believed(published: Published) -> None:
    embedding = {f"{LANGUAGE}model.embed_tokens.weight": mx.zeros((4, 2))}
    tensors = Tensors(embedding, str)
    assert tied_head(tensors, published.config, published.config) is published.tied


def test_image_and_end_tokens(published: Published, tmp_path: Path) -> None:
    """`<image>` is the first free id, which differs between 0.5B, 1.5B and 7B."""
    pieces = json.loads((GOLDENS / "apple-train" / "vocab.json").read_text())
    first = 151643
    padding = {f"\u0120\u0120{number}": number for number in range(len(pieces), first)}
    (tmp_path / "vocab.json").write_text(json.dumps(pieces | padding))
    merges = (GOLDENS / "apple-train" / "merges.txt").read_text()
    (tmp_path / "merges.txt").write_text(merges)
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    names += [f"<|extra_{number}|>" for number in range(published.added - 3)]
    added = {name: first + number for number, name in enumerate(names)}
    if published.stated_image:
        added["<image>"] = published.image
    (tmp_path / "added_tokens.json").write_text(json.dumps(added))
    tokens = read_tokenizer(Source(tmp_path)).tokens
    assert tokens.image == published.image
    assert tokens.ends == (151643, 151645)
