"""Writes the golden checkpoints: small FastVLMs and what PyTorch says of them.

    python -m tests.goldens.make

Four folders, one for each way in which FastVLM weights are published: under Apple's
names (llava_qwen2) or transformers' (fast_vlm), with the branches of training or
fused. Weights are random, drawn from a fixed seed and stored as float16; beside them
`expected.safetensors` holds, for a square and an oblong picture, what timm and
transformers compute from those weights in float32:

    pixels     (1, 3, H, W) uint8; pixel_values are these divided by 255
    stem, stage0 .. stage4, conv_exp    outputs of the tower, (1, C, h, w)
    projected  (1, N, D)    what the projector makes of the features
    input_ids  (L,)         the prompt, an image id on each of its N positions
    logits     (1, L, V)    at every position of the prompt
    greedy     (64,)        the tokens that follow, end tokens ignored

Each name is preceded by `square.` or `wide.`. Needs torch, timm and transformers; the
tests that read the folders need none of them (tests/test_goldens.py).
"""

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import FastVlmForConditionalGeneration

from tests.goldens.layouts import Recipe, write_apple, write_fast_vlm
from tests.goldens.tokenizer import IMAGE
from tests.parity import reference
from tests.parity.reference import State, TextShape, TowerShape

FOLDER = Path(__file__).parent
SIZES = {"square": (128, 128), "wide": (128, 192)}  # height, width
GREEDY_TOKENS = 64

# A greedy choice must lead by much more than the tolerance of the logits, 1e-4, or
# equal tokens are luck.
SMALLEST_LEAD = 5e-3

LLAVA_IMAGE_TOKEN = -200  # LLaVA's sentinel: Apple's tokenizers have no image token

# FastVLM's prompt around one image (llava's conversation template `qwen_2`).
SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
BEFORE = SYSTEM + "<|im_start|>user\n"
AFTER = "\nWhat is in this picture?<|im_end|>\n<|im_start|>assistant\n"


def write_golden(recipe: Recipe) -> None:
    """Make one folder anew: weights, configuration, tokenizer, expectation."""
    folder = FOLDER / recipe.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    model = recipe.build()
    tokenizer = recipe.write(recipe, model, folder)
    if tokenizer.token_to_id(IMAGE) not in (None, recipe.image_token):
        raise SystemExit(f"{recipe.name}: {IMAGE} is not {recipe.image_token}.")
    expected: State = {}
    for name, size in SIZES.items():
        part = expect(recipe, model, tokenizer, size)
        expected |= {f"{name}.{key}": value for key, value in part.items()}
    save_file(expected, folder / "expected.safetensors")
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors writes for the owner alone


@torch.no_grad()
def expect(
    recipe: Recipe,
    model: FastVlmForConditionalGeneration,
    tokenizer: Tokenizer,
    size: tuple[int, int],
) -> State:
    """All that PyTorch computes for a picture of (height, width)."""
    pixels = picture(size)
    pixel_values = pixels.float() / 255
    projected = model.get_image_features(pixel_values).pooler_output
    input_ids = prompt_ids(tokenizer, projected.shape[1], recipe.image_token)
    return _expect_stages(model, pixel_values) | {
        "pixels": pixels,
        "projected": projected,
        "input_ids": _published_ids(recipe, input_ids[0]),
        "logits": model(input_ids=input_ids, pixel_values=pixel_values).logits,
        "greedy": _expect_tokens(recipe, model, input_ids, pixel_values),
    }


def _expect_stages(
    model: FastVlmForConditionalGeneration, pixel_values: Tensor
) -> State:
    names = ["stem", *(f"stage{index}" for index in range(5)), "conv_exp"]
    outputs = reference.tower_stages(reference.timm_tower(model), pixel_values)
    return dict(zip(names, outputs, strict=True))


def _expect_tokens(
    recipe: Recipe,
    model: FastVlmForConditionalGeneration,
    input_ids: Tensor,
    pixel_values: Tensor,
) -> Tensor:
    tokens, lead = reference.greedy_tokens(
        model, input_ids, pixel_values, GREEDY_TOKENS
    )
    print(f"{recipe.name}: {input_ids.numel()} positions, smallest lead {lead:.4f}")
    if lead < SMALLEST_LEAD:
        raise SystemExit(f"{recipe.name} is nearly undecided; give it another seed.")
    return torch.tensor(tokens, dtype=torch.int32)


def picture(size: tuple[int, int]) -> Tensor:
    """Two colour ramps, a disc and a little noise: (1, 3, H, W) uint8."""
    height, width = size
    rows = torch.arange(height)[:, None].expand(size)
    columns = torch.arange(width)[None].expand(size)
    disc = (rows - height // 2) ** 2 + (columns - width // 3) ** 2 < (height // 4) ** 2
    noise = (rows * 31 + columns * 17 + rows * columns) % 29
    channels = (255 * rows // height, 255 * columns // width, 160 * disc + 40)
    image = torch.stack([channel + noise for channel in channels])
    return image.clamp(0, 255).to(torch.uint8)[None]


def prompt_ids(tokenizer: Tokenizer, image_length: int, image_token: int) -> Tensor:
    """(1, L) ids of the prompt; the image takes `image_length` positions."""
    ids = [
        *tokenizer.encode(BEFORE).ids,
        *[image_token] * image_length,
        *tokenizer.encode(AFTER).ids,
    ]
    return torch.tensor([ids])


def _published_ids(recipe: Recipe, input_ids: Tensor) -> Tensor:
    """The ids as a user of the layout writes them."""
    ids = input_ids.to(torch.int32)
    if recipe.is_apple:
        ids[ids == recipe.image_token] = LLAVA_IMAGE_TOKEN
    return ids


RECIPES = (
    # As in the 0.5B: the flag says tied, lm_head is there and equal.
    Recipe(
        "apple-train",
        write_apple,
        TowerShape((1, 1, 2, 1, 1)),
        TextShape(tied=True),
        seed=3,
    ),
    # The flag lies: lm_head differs and must be used.
    Recipe(
        "apple-fused",
        write_apple,
        TowerShape((1, 2, 1, 2, 1), (8, 8, 16, 32, 64), fused=True),
        TextShape(num_key_value_heads=1, tied=False),
        seed=4,
        config={"tie_word_embeddings": True},
        shards=2,
    ),
    # No lm_head in the file at all, which transformers leaves out when tied.
    Recipe(
        "fast_vlm-train",
        write_fast_vlm,
        TowerShape((1, 1, 1, 2, 1), (8, 16, 16, 32, 32)),
        TextShape(vocab_size=320, tied=True),
        seed=14,
    ),
    # Another rope base, so that the one of the file must be read.
    Recipe(
        "fast_vlm-fused",
        write_fast_vlm,
        TowerShape((2, 1, 1, 1, 2), (8, 16, 32, 32, 32), fused=True),
        TextShape(vocab_size=320, rope_theta=1e4, tied=False),
        seed=16,
    ),
)


if __name__ == "__main__":
    torch.set_num_threads(1)  # one order of summation, so the same files every time
    for each in RECIPES:
        write_golden(each)
