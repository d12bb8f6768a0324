"""The PyTorch side of every comparison: FastViTHD from timm, FastVLM from transformers.

In: a seed and a few sizes. Out: networks in float32 and evaluation mode whose every
tensor is random, so that no branch, statistic or scale can hide behind a zero or a
one. `apple_*` renames their weights as Apple's checkpoints do; it is written from
Apple's naming alone, without a look at convert/, so that the two check each other.

timm's `fastvit_mci3` is FastViTHD (arXiv 2412.13303): same tensors, same numbers.
"""

import re
import warnings
from dataclasses import dataclass
from typing import Any, TypeVar

import torch  # noqa: E402
from timm.layers.norm import LayerNorm2d  # noqa: E402
from timm.models.fastvit import FastVit, LayerScale2d  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from transformers import (  # noqa: E402
    FastVlmConfig,
    FastVlmForConditionalGeneration,
)
from transformers.models.llama.modeling_llama import LlamaRMSNorm  # noqa: E402
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm  # noqa: E402

from benchmarks.nano import torchvision_stub  # noqa: E402, F401

State = dict[str, Tensor]
Model = TypeVar("Model", bound=nn.Module)

APPLE_TOWER_PREFIX = "model.vision_tower.vision_tower.model."
TIMM_TOWER_PREFIX = "model.vision_tower.timm_model."

# Where Apple's flat `network` list holds the parts of each stage.
BLOCKS_AT = {0: 0, 1: 2, 2: 4, 3: 7, 4: 10}
DOWNSAMPLE_AT = {1: 1, 2: 3, 3: 5, 4: 8}
POS_EMB_AT = {3: 6, 4: 9}

CLIP_DIM = 32  # columns of head.proj, which no FastVLM uses but every file has


@dataclass(frozen=True)
class TowerShape:
    """Sizes of a FastViTHD; attention widths must be multiples of timm's 32."""

    layers: tuple[int, ...] = (1, 1, 2, 1, 1)
    embed_dims: tuple[int, ...] = (8, 16, 16, 32, 64)  # once kept, otherwise doubled
    fused: bool = False  # inference form; otherwise the branches of training

    @property
    def model_args(self) -> dict[str, Any]:
        """Keyword arguments of timm's `fastvit_mci3`, as JSON can carry them."""
        return {
            "layers": list(self.layers),
            "embed_dims": list(self.embed_dims),
            "inference_mode": self.fused,
        }

    @property
    def hidden_size(self) -> int:
        """Channels of the image features: conv_exp doubles (cls_ratio 2)."""
        return 2 * self.embed_dims[-1]


FULL_SHAPE = TowerShape((2, 12, 24, 4, 2), (96, 192, 384, 768, 1536))
FULL_SCALES = (0.05, 0.3)  # small layer scales keep 44 blocks of order 1


@dataclass(frozen=True)
class TextShape:
    """Sizes of a narrow Qwen2."""

    vocab_size: int = 384
    hidden_size: int = 64
    intermediate_size: int = 128
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    rope_theta: float = 1e6
    tied: bool = False
    model_type: str = "qwen2"  # or "llama", as in LLaVA-1.5


def build_fast_vlm(
    tower: TowerShape,
    text: TextShape,
    seed: int,
    image_token: int,
    scales: tuple[float, float] = (0.3, 1.0),
) -> FastVlmForConditionalGeneration:
    """A random transformers FastVLM around a narrow tower and a narrow Qwen2."""
    config = FastVlmConfig(
        vision_config=_vision_config(tower),
        text_config=_text_config(text),
        image_token_index=image_token,
        tie_word_embeddings=text.tied,
    )
    return randomize(FastVlmForConditionalGeneration(config), seed, scales)


def randomize(
    model: Model, seed: int, scales: tuple[float, float] = (0.3, 1.0)
) -> Model:
    """Draw every tensor of a model, leaving activations of order 1.

    Values are rounded to float16: a half-size file then holds them exactly.
    """
    generator = torch.Generator().manual_seed(seed)
    model.eval().requires_grad_(False)
    for name, module in model.named_modules():
        _randomize_module(name, module, generator, scales)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half())
    return model


def tower_stages(tower: FastVit, pixel_values: Tensor) -> list[Tensor]:
    """Outputs of the stem, of each stage and of the final conv, each (B, C, h, w)."""
    outputs = [tower.stem(pixel_values)]
    for stage in tower.stages:
        outputs.append(stage(outputs[-1]))
    return [*outputs, tower.final_conv(outputs[-1])]


def timm_tower(model: FastVlmForConditionalGeneration) -> FastVit:
    """The timm network inside a transformers FastVLM."""
    tower: FastVit = model.model.vision_tower.timm_model
    return tower


def greedy_tokens(
    model: FastVlmForConditionalGeneration,
    input_ids: Tensor,
    pixel_values: Tensor | None,
    count: int,
) -> tuple[list[int], float]:
    """`count` greedy tokens with a KV cache, end tokens ignored.

    Also the smallest lead of a chosen logit over the runner-up: where it is not far
    above rounding, equal tokens prove nothing.
    """
    output = model(input_ids=input_ids, pixel_values=pixel_values, use_cache=True)
    tokens, lead = [], float("inf")
    for _ in range(count):
        top = output.logits[0, -1].topk(2)
        lead = min(lead, float(top.values[0] - top.values[1]))
        tokens.append(int(top.indices[0]))
        output = _next_step(model, tokens[-1:], output.past_key_values)
    return tokens, lead


def _next_step(
    model: FastVlmForConditionalGeneration, token_ids: list[int], cache: Any
) -> Any:
    """One more token; transformers is about to rename the argument of its cache."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*past_key_values", FutureWarning)
        return model(
            input_ids=torch.tensor([token_ids]), past_key_values=cache, use_cache=True
        )


def apple_state(model: FastVlmForConditionalGeneration, seed: int) -> State:
    """A whole model's weights under the names of Apple's llava_qwen2 files.

    Those files always hold `lm_head.weight`, tied or not, and CLIP's `head.proj`.
    """
    state = {apple_name(name): value for name, value in model.state_dict().items()}
    state["lm_head.weight"] = model.lm_head.weight.clone()
    generator = torch.Generator().manual_seed(seed)
    width = timm_tower(model).num_features
    projection = torch.randn(width, CLIP_DIM, generator=generator)
    state[APPLE_TOWER_PREFIX + "head.proj"] = projection.half().float()
    return state


def apple_name(name: str) -> str:
    """Apple's name of a tensor of transformers' FastVLM."""
    if name.startswith(TIMM_TOWER_PREFIX):
        tower_name = name.removeprefix(TIMM_TOWER_PREFIX)
        return APPLE_TOWER_PREFIX + apple_tower_name(tower_name)
    name = name.replace("model.multi_modal_projector.linear_1", "model.mm_projector.0")
    name = name.replace("model.multi_modal_projector.linear_2", "model.mm_projector.2")
    return name.replace("model.language_model.", "model.")


def apple_tower_name(name: str) -> str:
    """Apple's name of a tensor of timm's FastViTHD, in train or inference form."""
    if name.startswith("stages."):
        name = _network_name(name)
    for pattern, replacement in (
        (r"^stem\.", "patch_embed."),
        (r"^final_conv\.", "conv_exp."),
        (r"\.mlp\.", ".convffn."),
        (r"\.conv_kxk\.", ".rbr_conv."),
        (r"\.conv_scale\.", ".rbr_scale."),
        (r"\.identity\.", ".rbr_skip."),
        (r"\.large_conv\.", ".lkb_origin."),
        (r"\.proj\.0\.reparam_conv\.", ".proj.0.lkb_reparam."),
        (r"\.se\.fc1\.", ".se.reduce."),
        (r"\.se\.fc2\.", ".se.expand."),
        (r"\.gamma$", ""),
    ):
        name = re.sub(pattern, replacement, name)
    return name


def _network_name(name: str) -> str:
    """From timm's nested stages to Apple's flat list; the rest of a name stays."""
    _, stage, part, rest = name.split(".", 3)
    index = int(stage)
    if part == "blocks":
        return f"network.{BLOCKS_AT[index]}.{rest}"
    if part == "downsample":
        return f"network.{DOWNSAMPLE_AT[index]}.{rest}"
    return f"network.{POS_EMB_AT[index]}.{rest.replace('pos_enc.', 'pe.')}"


def _vision_config(tower: TowerShape) -> dict[str, object]:
    return {
        "model_type": "timm_wrapper",
        "architecture": "fastvit_mci3",
        "do_pooling": True,
        "hidden_size": tower.hidden_size,
        "initializer_range": 0.02,
        "model_args": tower.model_args,
    }


def _text_config(text: TextShape) -> dict[str, object]:
    return {
        "model_type": text.model_type,
        "vocab_size": text.vocab_size,
        "hidden_size": text.hidden_size,
        "intermediate_size": text.intermediate_size,
        "num_hidden_layers": text.num_hidden_layers,
        "num_attention_heads": text.num_attention_heads,
        "num_key_value_heads": text.num_key_value_heads,
        "rope_parameters": {"rope_type": "default", "rope_theta": text.rope_theta},
        "tie_word_embeddings": text.tied,
        "max_position_embeddings": 512,
    }


def _randomize_module(
    name: str,
    module: nn.Module,
    generator: torch.Generator,
    scales: tuple[float, float],
) -> None:
    """Draw the tensors that a module owns itself."""

    def normal(tensor: Tensor, std: float) -> None:
        tensor.normal_(0.0, std, generator=generator)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        tensor.uniform_(low, high, generator=generator)

    match module:
        case nn.Conv2d() | nn.Linear():
            fan_in = module.weight[0].numel()
            normal(module.weight, _gain(name, module) * fan_in**-0.5)
            if module.bias is not None:
                normal(module.bias, 0.1)
        case nn.BatchNorm2d():
            statistics = module.state_dict()
            normal(statistics["running_mean"], 0.3)
            uniform(statistics["running_var"], 0.3, 2.0)
            statistics["num_batches_tracked"].fill_(1000)
            uniform(module.weight, 0.3, 1.0)
            normal(module.bias, 0.2)
        case LayerNorm2d():
            uniform(module.weight, 0.5, 1.5)
            normal(module.bias, 0.2)
        case Qwen2RMSNorm() | LlamaRMSNorm():
            uniform(module.weight, 0.5, 1.5)
        case LayerScale2d():
            uniform(module.gamma, *scales)
        case nn.Embedding():
            normal(module.weight, 0.2)


def _gain(name: str, module: nn.Conv2d | nn.Linear) -> float:
    """Above 1 where GELU weakens the signal or, in Qwen2, to drown the embedding.

    A conv without bias is a branch with BatchNorm: its sums grow by themselves. Nor
    does the tower's qkv: sharp attention would only magnify rounding, PyTorch's too.
    """
    if isinstance(module, nn.Linear):
        return 1.0 if name.endswith(".qkv") else 1.5
    return 1.0 if module.bias is None else 1.4
