"""mlx-vlm really loads what we write for it, and we read what it loads.

Runs in an environment of its own (`make peers`), since mlx-vlm brings transformers and
much else along.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mlx_vlm")

from mlx.utils import tree_flatten  # noqa: E402
from mlx_vlm.models.fastvlm.config import VisionConfig as TheirConfig  # noqa: E402
from mlx_vlm.utils import load_model as load_theirs  # noqa: E402

from convert import Recipe, convert_checkpoint  # noqa: E402
from convert.checkpoint import Format  # noqa: E402
from fastvlm_mlx.config import FASTVITHD, STAMP, FastVLMConfig, TextConfig
from fastvlm_mlx.device.backend import mx  # noqa: E402
from fastvlm_mlx.model.fastvlm import FastVLMModel  # noqa: E402
from fastvlm_mlx.model_folder import load_config
from fastvlm_mlx.weights import load_model  # noqa: E402
from tests.convert import published  # noqa: E402
from tests.convert.folders import GOLDENS, arrays_of  # noqa: E402
from tests.parity import runtime  # noqa: E402

pytestmark = pytest.mark.peers

TOLERANCE = 1e-3  # of logits, relative to the largest
NARROW = "apple-fused"
IMAGE_TOKEN = -200


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A golden checkpoint; mlx-vlm 0.7.10 has the tower's sizes built in."""
    monkeypatch.setattr(TheirConfig, "layers", [1, 2, 1, 2, 1])
    monkeypatch.setattr(TheirConfig, "embed_dims", [8, 8, 16, 32, 64])
    yield NARROW


def theirs(folder: Path, ids: list[int], pixels: mx.array) -> Any:
    """Logits (1, L, V) of mlx-vlm; pixels (1, H, W, 3) in [0, 1]."""
    model = load_theirs(folder)
    pixel_values = pixels.transpose(0, 3, 1, 2)
    logits = model(mx.array([ids]), pixel_values, None).logits
    return np.array(logits.astype(mx.float32))


def ours(folder: Path, ids: list[int], pixels: mx.array) -> Any:
    """The same of our runtime; the picture takes one id of the prompt."""
    model = load_model(folder, load_config(folder), dtype="float32")
    image = model.project(model.encode_image(pixels))
    place = ids.index(IMAGE_TOKEN)
    whole = [*ids[:place], *[0] * image.shape[1], *ids[place + 1 :]]
    embeds = model.splice(whole, [(place, image.shape[1])], [image[0]])
    return np.array(model(embeds))


def prompt() -> list[int]:
    return [5, 9, 3, IMAGE_TOKEN, 7, 11, 2, 30]


def picture(height: int = 128, width: int = 192) -> mx.array:
    random = np.random.default_rng(3)
    return mx.array(random.random((1, height, width, 3), np.float32))


def error(folder: Path, peer: Path) -> float:
    found = ours(folder, prompt(), picture())
    return runtime.relative_error(theirs(peer, prompt(), picture()), found)


# --- out --------------------------------------------------------------------------


def test_what_is_written_for_mlx_vlm(narrow: str, tmp_path: Path) -> None:
    convert_checkpoint(GOLDENS / narrow, tmp_path / "ours")
    convert_checkpoint(GOLDENS / narrow, tmp_path / "peer", to="mlx-vlm")
    assert error(tmp_path / "ours", tmp_path / "peer") <= TOLERANCE


def test_it_says_what_pytorch_says(narrow: str, tmp_path: Path) -> None:
    """Both sides could share a mistake; the golden file does not."""
    arrays: Any = mx.load(str(GOLDENS / narrow / "expected.safetensors"))
    convert_checkpoint(GOLDENS / narrow, tmp_path / "peer", to="mlx-vlm")
    ids: list[int] = arrays["square.input_ids"].tolist()
    place, length = ids.index(IMAGE_TOKEN), ids.count(IMAGE_TOKEN)
    one = [*ids[:place], IMAGE_TOKEN, *ids[place + length :]]
    pixels = arrays["square.pixels"].astype(mx.float32).transpose(0, 2, 3, 1) / 255
    found = theirs(tmp_path / "peer", one, pixels)
    expected = np.array(arrays["square.logits"])
    assert runtime.relative_error(found, expected) <= TOLERANCE


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(bits=8),
        Recipe(bits=4, group_size=32, projector_bits=8),
        Recipe(mode="mxfp4"),
    ],
    ids=["8", "4 and 8", "mxfp4"],
)
def test_few_bits_for_mlx_vlm(narrow: str, tmp_path: Path, recipe: Recipe) -> None:
    """In float32: half precision alone moves logits by more than the tolerance."""
    formats: tuple[tuple[str, Format], ...] = (("ours", "fused"), ("peer", "mlx-vlm"))
    for name, to in formats:
        convert_checkpoint(
            GOLDENS / narrow, tmp_path / name, to=to, recipe=recipe, dtype="float32"
        )
    assert error(tmp_path / "ours", tmp_path / "peer") <= TOLERANCE


def test_from_a_converted_folder(narrow: str, tmp_path: Path) -> None:
    convert_checkpoint(GOLDENS / narrow, tmp_path / "ours")
    convert_checkpoint(tmp_path / "ours", tmp_path / "peer", to="mlx-vlm")
    assert error(tmp_path / "ours", tmp_path / "peer") <= TOLERANCE


def test_it_comes_back(narrow: str, tmp_path: Path) -> None:
    convert_checkpoint(GOLDENS / narrow, tmp_path / "peer", to="mlx-vlm")
    report = convert_checkpoint(tmp_path / "peer", tmp_path / "back")
    original = convert_checkpoint(GOLDENS / narrow, tmp_path / "ours").config
    assert report.config.text_config == original.text_config
    assert report.config.vision_config == original.vision_config
    assert error(tmp_path / "back", tmp_path / "peer") <= TOLERANCE


def random_model(folder: Path) -> Path:
    """A converted folder with FastViTHD at its true size and a narrow Qwen2."""
    folder.mkdir()
    golden = load_config(convert_and_get(folder.parent / "narrow"))
    text = TextConfig("qwen2", 64, 2, 128, 4, 2, 384)
    config = FastVLMConfig(FASTVITHD, text, 380, golden.eos_token_ids, 512)
    mx.random.seed(0)
    shapes: dict[str, mx.array] = dict(tree_flatten(FastVLMModel(config).parameters()))
    weights = {name: _draw(name, array) for name, array in shapes.items()}
    for name in [name for name in weights if name.endswith("qkv.bias")]:
        weight = weights[name.replace("bias", "weight")]
        weights[name] = weight @ mx.random.normal((weight.shape[1],)) * 0.1
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {STAMP: "1"})
    for file in ("tokenizer.json", "tokenizer_config.json"):
        text_of = (folder.parent / "narrow" / file).read_text("utf-8")
        (folder / file).write_text(text_of, "utf-8")
    (folder / "config.json").write_text(json.dumps(config.to_dict()), "utf-8")
    return folder


def convert_and_get(folder: Path) -> Path:
    convert_checkpoint(GOLDENS / NARROW, folder)
    return folder


def _draw(name: str, array: mx.array) -> mx.array:
    if array.ndim == 1:
        norm = name.endswith("norm.weight")
        return mx.ones_like(array) if norm else 0.1 * mx.random.normal(array.shape)
    fan_in = array.size // array.shape[0]
    drawn: mx.array = mx.random.normal(array.shape) * (0.5 * fan_in**-0.5)
    return drawn


def test_the_true_size_without_a_patch(tmp_path: Path) -> None:
    """FastViTHD as mlx-vlm builds it, unchanged."""
    folder = random_model(tmp_path / "ours")
    convert_checkpoint(folder, tmp_path / "peer", to="mlx-vlm")
    assert error(folder, tmp_path / "peer") <= TOLERANCE


# --- in ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "quantization",
    [
        None,
        {"bits": 8, "group_size": 64},
        {
            "bits": 4,
            "group_size": 64,
            "language_model.lm_head": {"bits": 8, "group_size": 32},
        },
    ],
    ids=["plain", "8", "4 and 8"],
)
def test_what_mlx_vlm_loads_we_load(
    narrow: str, tmp_path: Path, quantization: dict[str, Any] | None
) -> None:
    """The folders that tests/convert makes in its layout are what it reads itself."""
    golden = arrays_of(GOLDENS / narrow)
    whole = {name: array.astype(np.float32) for name, array in golden.items()}
    arrays = published.mlx_vlm_arrays(whole)
    stated: dict[str, Any] = {"tie_word_embeddings": False, "image_token_index": -200}
    stated["vision_config"] = {"projection_dim": 32}  # of the golden CLIP head
    if quantization:
        arrays = published.quantize(arrays, quantization, "language_model mm_projector")
        stated["quantization"] = quantization
    peer = published.write(tmp_path / "peer", arrays, narrow, **stated)
    convert_checkpoint(peer, tmp_path / "ours")
    assert error(tmp_path / "ours", peer) <= TOLERANCE
