"""Where pictures stand in a prompt, against transformers' FastVLM.

Through the whole engine with its caches on: the prompt is ours, tokens and places; the
pictures are of any size; transformers gets the same ids and pixels at once.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.nano import torchvision_stub  # noqa: E402, F401

pytest.importorskip("timm")
pytest.importorskip("transformers")

import torch  # noqa: E402
from PIL import Image  # noqa: E402
from transformers import FastVlmForConditionalGeneration  # noqa: E402

from fastvlm_mlx import FastVLM  # noqa: E402
from fastvlm_mlx.images.resize import prepare  # noqa: E402
from fastvlm_mlx.text.prompt import Message  # noqa: E402

# noqa: E402
from tests.goldens.layouts import Recipe, write_fast_vlm  # noqa: E402
from tests.parity import runtime  # noqa: E402
from tests.parity.reference import TextShape, TowerShape  # noqa: E402
from tests.parity.runtime import Array  # noqa: E402
from tests.probes import first_logits, seen_logits

pytestmark = pytest.mark.parity

RECIPE = Recipe("untied", write_fast_vlm, TowerShape(), TextShape(tied=False), seed=55)
SIZE = (128, 192)
POSITIONS = 6
SIZES = ((100, 150), (300, 40), (64, 64), (90, 270))  # of the originals

PROMPTS = (
    (1, "Is it red?"),
    (1, "<image>"),
    (1, "Is <image> red?"),
    (1, "Is it red? <image>"),
    (2, "Which is red?"),
    (2, "<image><image>"),
    (2, "First <image>, then <image>. Which is red?"),
    (3, "Which is red?"),
    (3, "<image> is one, <image><image> are two"),
    (4, "Which is red?"),
    (4, "A <image> B <image> C <image> D <image> which is red?"),
)


@pytest.fixture(scope="module")
def theirs() -> FastVlmForConditionalGeneration:
    """The model in PyTorch."""
    return RECIPE.build()


@pytest.fixture(scope="module")
def ours(
    theirs: FastVlmForConditionalGeneration, tmp_path_factory: pytest.TempPathFactory
) -> FastVLM:
    """The same one, with every cache on."""
    root = tmp_path_factory.mktemp("placement")
    source = RECIPE.write_source(theirs, root)
    return runtime.convert_and_open(source, root / "converted")


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Four of them, no two of one size."""
    noise = np.random.default_rng(7)
    return [
        Image.fromarray(noise.integers(0, 256, (*size, 3), dtype=np.uint8))
        for size in SIZES
    ]


def our_logits(vlm: FastVLM, images: Sequence[Image.Image], text: str) -> Array:
    """What the first token is chosen by, (V,)."""
    return first_logits(vlm, list(images), text, resolution=SIZE)


@torch.no_grad()
def their_logits(
    model: FastVlmForConditionalGeneration,
    vlm: FastVLM,
    images: Sequence[Image.Image],
    text: str,
) -> Array:
    """The same of transformers, (V,)."""
    lengths = [POSITIONS] * len(images)
    question = Message("user", text, images=len(images))
    prompt = vlm.engine.tokenizer.build([question], lengths)
    ids = torch.tensor([prompt.token_ids])
    for start, length in prompt.image_spans:
        ids[0, start : start + length] = RECIPE.image_token
    pixels = np.stack([prepare(image, SIZE, "pad") for image in images])
    values = torch.from_numpy(pixels.transpose(0, 3, 1, 2) / np.float32(255))
    logits: Any = model(input_ids=ids, pixel_values=values).logits
    found: Array = logits[0, -1].numpy()
    return found


@pytest.mark.parametrize(("count", "text"), PROMPTS)
def test_each_picture_at_its_place(
    theirs: FastVlmForConditionalGeneration,
    ours: FastVLM,
    pictures: list[Image.Image],
    count: int,
    text: str,
) -> None:
    """In several orders, one after another, so that most begin as an earlier one."""
    orders = list(itertools.permutations(pictures, count))[::5]
    expected = [their_logits(theirs, ours, order, text) for order in orders]
    for order, logits in zip(orders, expected, strict=True):
        found = our_logits(ours, order, text)
        assert runtime.relative_error(found, logits) <= runtime.LOGIT_TOLERANCE
    for one, other in itertools.combinations(expected, 2):  # order is seen at all
        assert runtime.relative_error(one, other) > 5 * runtime.LOGIT_TOLERANCE


def test_most_of_it_was_reused(ours: FastVLM) -> None:
    """Runs after the others: four pictures were encoded, hundreds asked about."""
    stats = ours.cache_stats
    assert stats.images_encoded == 4
    assert stats.reused_positions > 100


def test_a_conversation(
    theirs: FastVlmForConditionalGeneration,
    ours: FastVLM,
    pictures: list[Image.Image],
) -> None:
    """The third question of a talk, all of it read at once by transformers."""
    chat = ours.chat(resolution=SIZE, max_tokens=3)
    chat.ask("What is <image>?", image=pictures[0])
    chat.ask("And these?", image=pictures[1:3])
    with seen_logits() as seen:
        result = chat.ask("Which is red?", max_tokens=1)
    assert result.reused_tokens > result.prompt_tokens // 2
    last = ours.engine.caches.prefixes.last()
    assert len(last) == result.prompt_tokens
    ids = [RECIPE.image_token if isinstance(key, str) else key for key in last.keys]
    pixels = np.stack([prepare(image, SIZE, "pad") for image in pictures[:3]])
    values = torch.from_numpy(pixels.transpose(0, 3, 1, 2) / np.float32(255))
    with torch.no_grad():
        logits = theirs(input_ids=torch.tensor([ids]), pixel_values=values).logits
    error = runtime.relative_error(seen[0][0], logits[0, -1].numpy())
    assert error <= runtime.LOGIT_TOLERANCE
