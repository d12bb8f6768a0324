"""What a folder holds, counted otherwise than by the inspection."""

import math
from pathlib import Path

import pytest

from convert import Recipe, convert_checkpoint
from convert.inspection import inspect_folder
from tests.convert import published
from tests.convert.folders import GOLDENS, arrays_of


def test_every_weight_of_a_source_is_in_a_part(name: str) -> None:
    found = inspect_folder(GOLDENS / name)
    dropped = {key for key in found.dropped if "lm_head" not in key}
    kept = [
        array for key, array in arrays_of(GOLDENS / name).items() if key not in dropped
    ]
    assert sum(part.parameters for part in found.parts) == sum(
        array.size for array in kept
    )
    assert sum(part.stored_bytes for part in found.parts) == sum(
        array.nbytes for array in kept
    )
    assert found.missing is None
    assert found.tokens[1024] == 256


def test_bits_of_a_quantized_folder(tmp_path: Path) -> None:
    recipe = Recipe(bits=4, projector_bits=8)
    source = GOLDENS / "apple-fused"
    report = convert_checkpoint(source, tmp_path / "few", recipe=recipe)
    found = inspect_folder(tmp_path / "few")
    parts = {part.name: part for part in found.parts}
    assert found.layout == "fused"
    assert "4 bits" in parts["layers"].dtypes
    assert "8 bits" in parts["projector"].dtypes
    assert parts["embedding"].bits_per_weight == 6.5  # and 16 + 16 for 64 weights
    assert sum(part.parameters for part in found.parts) == report.parameters
    stored = sum(part.stored_bytes for part in found.parts)
    assert stored == report.bytes_written


def test_what_will_be_folded() -> None:
    """Inference form has one BatchNorm and one scale a block, two in attention."""
    blocks, attention = 1 + 2 + 1 + 2 + 1, 3
    folds = inspect_folder(GOLDENS / "apple-fused").folds
    assert folds == {
        "BatchNorms": blocks,
        "layer scales": blocks + attention,
        "LayerNorms": attention,
    }
    assert inspect_folder(GOLDENS / "apple-train").folds["training branches"] > 20


@pytest.mark.parametrize("layout", ["mobileclip", "open_clip", "timm"])
def test_an_encoder_alone(tmp_path: Path, layout: str) -> None:
    found = inspect_folder(published.encoder(tmp_path / "encoder", layout))
    assert found.layout == layout
    assert found.missing == "a language model"
    assert {part.name.split()[0] for part in found.parts} == {"tower"}


def test_an_export_without_tower(tmp_path: Path) -> None:
    arrays = published.export_arrays(arrays_of(GOLDENS / "apple-fused"))
    source = published.write(tmp_path / "export", arrays, "apple-fused")
    found = inspect_folder(source)
    assert (found.layout, found.missing) == ("apple_mlx", "a vision tower")
    assert found.text is not None
    assert math.isclose(sum(part.bits_per_weight for part in found.parts) / 4, 16)
