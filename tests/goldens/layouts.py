"""The two layouts in which FastVLM weights are published, at toy size.

In: a recipe and the transformers model built from it. Out: a checkpoint folder, with
everything in it that the real ones have and a converter may look for. Configurations
are made from the documented fields of the formats; no file of Apple's is copied.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import FastVlmForConditionalGeneration, GenerationConfig

from tests.goldens import tokenizer as tiny
from tests.goldens.tokenizer import write_json
from tests.parity import reference
from tests.parity.reference import State, TextShape, TowerShape

RESOLUTION = 128  # pixels: what the configurations call the model's own size

# Stands for an image in transformers' prompts. Both are ids that no text produces:
# `<image>` in its layout, an unused row of the embedding in Apple's.
FAST_VLM_IMAGE_TOKEN, APPLE_IMAGE_TOKEN = 312, 380

Writer: TypeAlias = Callable[
    ["Recipe", FastVlmForConditionalGeneration, Path], Tokenizer
]


@dataclass(frozen=True)
class Recipe:
    """What makes one checkpoint; the same recipe makes the same files."""

    name: str
    write: Writer
    tower: TowerShape
    text: TextShape
    seed: int
    config: dict[str, object] = field(default_factory=dict)  # instead of the truth
    shards: int = 1
    layer_scales: tuple[float, float] = (0.3, 1.0)

    @property
    def is_apple(self) -> bool:
        """Whether this is Apple's layout."""
        return self.write in (write_apple, write_llava_llama)

    @property
    def image_token(self) -> int:
        """The id of an image position in the model that `build` makes."""
        return APPLE_IMAGE_TOKEN if self.is_apple else FAST_VLM_IMAGE_TOKEN

    def write_source(self, model: FastVlmForConditionalGeneration, at: Path) -> Path:
        """The model as a checkpoint in a new folder inside one; that folder."""
        source = at / "source"
        source.mkdir()
        self.write(self, model, source)
        return source

    def build(self) -> FastVlmForConditionalGeneration:
        """The PyTorch model."""
        return reference.build_fast_vlm(
            self.tower, self.text, self.seed, self.image_token, self.layer_scales
        )


def write_apple(
    recipe: Recipe, model: FastVlmForConditionalGeneration, folder: Path
) -> Tokenizer:
    """The layout of Apple's repositories, model_type `llava_qwen2`."""
    _save_weights(reference.apple_state(model, recipe.seed), folder, recipe.shards)
    write_json(folder / "config.json", _apple_config(recipe))
    sampling = {"do_sample": True, "temperature": None, "top_p": None}
    write_json(folder / "generation_config.json", sampling)
    return tiny.write_apple(folder)


def write_llava_llama(
    recipe: Recipe, model: FastVlmForConditionalGeneration, folder: Path
) -> Tokenizer:
    """LLaVA-1.5's layout: the same names around a Llama, `llava_llama`, no template."""
    write_apple(recipe, model, folder)
    values = _apple_config(recipe) | {"model_type": "llava_llama", "eos_token_id": 2}
    write_json(folder / "config.json", values)
    for file in ("vocab.json", "merges.txt", "added_tokens.json"):
        (folder / file).unlink()
    return tiny.write_llama(folder)


def write_fast_vlm(
    recipe: Recipe, model: FastVlmForConditionalGeneration, folder: Path
) -> Tokenizer:
    """The layout of transformers' own class, as `save_pretrained` writes it."""
    tokenizer = tiny.write_fast_vlm(folder)
    end = tokenizer.token_to_id(tiny.TURN_END)
    model.generation_config = GenerationConfig.from_dict({"eos_token_id": end})
    # Every weight is a float16 already (reference.randomize): the cast loses nothing.
    # Of a copy, since it would round the rotary frequencies, which are not saved.
    copy.deepcopy(model).to(torch.float16).save_pretrained(folder)
    write_json(folder / "preprocessor_config.json", _preprocessor_config())
    return tokenizer


def _save_weights(state: State, folder: Path, shards: int) -> None:
    """float16 safetensors, in one file or in several with Hugging Face's index."""
    halves = {name: _half(value) for name, value in sorted(state.items())}
    if shards == 1:
        save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = list(halves)
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        own = names[shard::shards]  # interleaved: the parts of a block lie apart
        part = {name: halves[name] for name in own}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(own, file)
    size = sum(value.numel() * value.element_size() for value in halves.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    write_json(folder / "model.safetensors.index.json", index)


def _half(value: Tensor) -> Tensor:
    """As stored; `num_batches_tracked` stays the int64 that it is."""
    return (value.half() if value.is_floating_point() else value).contiguous()


def _apple_config(recipe: Recipe) -> dict[str, object]:
    """The fields that LLaVA's Qwen2 model and its builders read, and no tower sizes:
    Apple's files leave those to the name `mobileclip_l` and to the weights."""
    text = recipe.text
    return {
        "architectures": ["LlavaQwen2ForCausalLM"],
        "model_type": "llava_qwen2",
        "vocab_size": text.vocab_size,
        "hidden_size": text.hidden_size,
        "intermediate_size": text.intermediate_size,
        "num_hidden_layers": text.num_hidden_layers,
        "num_attention_heads": text.num_attention_heads,
        "num_key_value_heads": text.num_key_value_heads,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": text.rope_theta,
        "max_position_embeddings": 512,
        "sliding_window": 512,
        "use_sliding_window": False,
        "max_window_layers": text.num_hidden_layers,
        "tie_word_embeddings": text.tied,
        "use_cache": True,
        "torch_dtype": "float16",
        "transformers_version": "4.39.3",
    } | _apple_vision_config(recipe)


def _apple_vision_config(recipe: Recipe) -> dict[str, object]:
    return {
        "image_aspect_ratio": "pad",
        "image_grid_pinpoints": None,
        "mm_hidden_size": recipe.tower.hidden_size,
        "mm_patch_merge_type": "flat",
        "mm_projector_type": "mlp2x_gelu",
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": f"mobileclip_l_{RESOLUTION}",
        "tokenizer_model_max_length": 256,
        "tokenizer_padding_side": "right",
        "use_mm_proj": True,
    } | recipe.config


def _preprocessor_config() -> dict[str, object]:
    """CLIPImageProcessor as transformers' FastVLM uses it, at the narrow size."""
    side = RESOLUTION
    return {
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": "LlavaProcessor",
        "do_resize": True,
        "size": {"shortest_edge": side},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_convert_rgb": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.0, 0.0, 0.0],
        "image_std": [1.0, 1.0, 1.0],
    }
