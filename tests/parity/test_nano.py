"""The trained checkpoint in torch's eval mode and in our runtime: the same logits.

Random weights hide nothing but also mean nothing; these have been trained, and their
BatchNorm statistics come from images.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.parity.runtime import relative_error

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
pytest.importorskip("benchmarks.nano.transformers_check")  # brings its torchvision stub

from benchmarks.nano.data.easy_vqa import EasyImage, load_split  # noqa: E402
from benchmarks.nano.data.square import read_square  # noqa: E402
from benchmarks.nano.train.model import to_pixel_values  # noqa: E402
from benchmarks.nano.transformers_check import Reference  # noqa: E402
from convert import convert_checkpoint  # noqa: E402
from fastvlm_mlx import FastVLM, load  # noqa: E402
from fastvlm_mlx.device.backend import mx  # noqa: E402
from fastvlm_mlx.images.resize import prepare  # noqa: E402
from fastvlm_mlx.text.prompt import Message  # noqa: E402

CHECKPOINT = Path(__file__).parents[2] / "benchmarks" / "nano" / "checkpoint"
IMAGES = 100
QUESTION = "what is the color of the shape?"


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> FastVLM:
    folder = tmp_path_factory.mktemp("nano") / "converted"
    convert_checkpoint(CHECKPOINT, folder)
    return load(folder, dtype="float32")


@pytest.fixture(scope="module")
def torch_model() -> Reference:
    return Reference(CHECKPOINT)


def our_logits(vlm: FastVLM, image: EasyImage) -> mx.array:
    side = vlm.engine.config.vision_config.image_size
    pixels = mx.array(prepare(Image.open(image.path).convert("RGB"), side, "pad"))
    embeds = vlm.engine.model.project(
        vlm.engine.model.encode_image(pixels[None] / 255)
    )[0]
    prompt = vlm.engine.tokenizer.build(
        [Message("user", QUESTION, images=1)], [embeds.shape[0]]
    )
    spliced = vlm.engine.model.splice(prompt.token_ids, prompt.image_spans, [embeds])
    return vlm.engine.model(spliced)[0]


def test_logits_of_100_test_images(vlm: FastVLM, torch_model: Reference) -> None:
    split = load_split("test")[:IMAGES]
    resolution = torch_model.resolution
    squares = np.stack([read_square(each.path, resolution) for each in split])
    ids = torch_model.prompt(QUESTION).expand(IMAGES, -1)
    with torch.no_grad():
        pixel_values = to_pixel_values(torch.from_numpy(squares))
        output = torch_model.model(input_ids=ids, pixel_values=pixel_values)
    for image, expected in zip(split, output.logits, strict=True):
        error = relative_error(our_logits(vlm, image), expected.numpy())
        assert error <= 1e-3, image.path
