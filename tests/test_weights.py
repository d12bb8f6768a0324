"""A folder loads whole or not at all, and the error names what is wrong."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlx.utils import tree_flatten

from fastvlm_mlx.config import FORMAT_VERSION, STAMP
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import CheckpointError, ConfigError, OptionError
from fastvlm_mlx.model_folder import INDEX_FILE, WEIGHTS_FILE, load_config
from fastvlm_mlx.weights import load_model

FIRST = "mm_projector.linear_1.weight"
SECOND = "mm_projector.linear_2.bias"


@pytest.fixture
def folder(converted_golden: Callable[[str], Path], tmp_path: Path) -> Path:
    """A converted folder that may be damaged."""
    return Path(shutil.copytree(converted_golden("apple-train"), tmp_path / "model"))


def read(folder: Path) -> dict[str, mx.array]:
    """Copies, so that the file may be written again."""
    arrays = dict(mx.load(str(folder / WEIGHTS_FILE)))  # type: ignore[arg-type]
    return {name: mx.array(np.array(array)) for name, array in arrays.items()}


def write(
    folder: Path,
    weights: dict[str, mx.array],
    file: str = WEIGHTS_FILE,
    stamp: object = FORMAT_VERSION,
) -> None:
    mx.save_safetensors(str(folder / file), weights, {STAMP: str(stamp)})


def write_shards(folder: Path) -> None:
    """The same weights as two files and an index."""
    weights = read(folder)
    half = sorted(weights)[: len(weights) // 2]
    shards = {
        "model-00001-of-00002.safetensors": half,
        "model-00002-of-00002.safetensors": [n for n in weights if n not in half],
    }
    for file, names in shards.items():
        write(folder, {name: weights[name] for name in names}, file)
    placed = {name: file for file, names in shards.items() for name in names}
    write_index(folder, placed)
    (folder / WEIGHTS_FILE).unlink()


def write_index(folder: Path, weight_map: object) -> None:
    (folder / INDEX_FILE).write_text(json.dumps({"weight_map": weight_map}))


# --- whole folders ----------------------------------------------------------------


def test_every_weight_arrives_unchanged(folder: Path) -> None:
    parameters = dict(
        tree_flatten(load_model(folder, load_config(folder), "float32").parameters())
    )
    weights = read(folder)
    assert parameters.keys() == weights.keys()
    for name, array in weights.items():
        assert mx.array_equal(parameters[name], array.astype(mx.float32)), name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_weights_come_in_the_dtype_asked_for(folder: Path, dtype: str) -> None:
    model = load_model(folder, load_config(folder), dtype)
    parameters: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    found = {array.dtype for array in parameters.values()}
    assert found == {getattr(mx, dtype)} == {model.embed_dtype}


def test_an_unknown_dtype_names_the_known_ones(folder: Path) -> None:
    with pytest.raises(OptionError, match="'int8'; expected one of float32, bfloat16"):
        load_model(folder, load_config(folder), "int8")


def test_shards_are_read_as_one(folder: Path) -> None:
    expected = read(folder)
    write_shards(folder)
    parameters = dict(
        tree_flatten(load_model(folder, load_config(folder), "float32").parameters())
    )
    assert mx.array_equal(parameters[FIRST], expected[FIRST].astype(mx.float32))
    assert parameters.keys() == expected.keys()


# --- damaged ones -----------------------------------------------------------------


def test_a_missing_tensor_is_named(folder: Path) -> None:
    weights = read(folder)
    del weights[FIRST]
    write(folder, weights)
    with pytest.raises(CheckpointError, match=f"hold its model: missing {FIRST}"):
        load_model(folder, load_config(folder))


def test_an_extra_tensor_is_named(folder: Path) -> None:
    write(folder, read(folder) | {"surplus.weight": mx.zeros(1)})
    with pytest.raises(CheckpointError, match="hold its model: unknown surplus.weight"):
        load_model(folder, load_config(folder))


def test_a_misshapen_tensor_is_named_with_both_shapes(folder: Path) -> None:
    weights = read(folder)
    shape = weights[FIRST].shape
    write(folder, weights | {FIRST: weights[FIRST][1:]})
    message = rf"{FIRST} has the shape \({shape[0] - 1}, .*\), expected \({shape[0]}, "
    with pytest.raises(CheckpointError, match=message):
        load_model(folder, load_config(folder))


def test_all_faults_are_named_or_counted(folder: Path) -> None:
    weights = read(folder)
    extra = {f"surplus.{number}": mx.zeros(1) for number in range(7)}
    del weights[FIRST]
    write(folder, weights | extra | {SECOND: mx.zeros((1, 1))})
    with pytest.raises(CheckpointError, match=rf"missing {FIRST}; .*; and 4 more\."):
        load_model(folder, load_config(folder))


def test_whole_numbers_are_no_weights(folder: Path) -> None:
    """They would be taken for packed bits, or computed with as they are."""
    weights = read(folder)
    write(folder, weights | {FIRST: weights[FIRST].astype(mx.uint32)})
    with pytest.raises(CheckpointError, match=f"{FIRST} holds .*uint32"):
        load_model(folder, load_config(folder))


def test_scales_without_a_quantized_config_are_unknown(folder: Path) -> None:
    write(folder, read(folder) | {FIRST.replace("weight", "scales"): mx.zeros(1)})
    with pytest.raises(CheckpointError, match="unknown mm_projector.linear_1.scales"):
        load_model(folder, load_config(folder))


def quantize_config(folder: Path, **quantization: Any) -> None:
    """Say in config.json that layers are quantized."""
    config = json.loads((folder / "config.json").read_text())
    config["quantization"] = {"bits": 4, **quantization}
    (folder / "config.json").write_text(json.dumps(config))


def test_a_packing_for_a_layer_that_is_not_quantized(folder: Path) -> None:
    quantize_config(folder, **{"mm_projector.linear_1": {"bits": 8}})
    message = "quantization for mm_projector.linear_1, which is not quantized"
    with pytest.raises(CheckpointError, match=message):
        load_model(folder, load_config(folder))


def test_groups_that_do_not_divide_a_layer(folder: Path) -> None:
    weights = read(folder)
    weights["vision_tower.stem.pointwise.scales"] = mx.zeros((16, 1))
    write(folder, weights)
    quantize_config(folder)
    with pytest.raises(CheckpointError, match="quantization in config.json does not"):
        load_model(folder, load_config(folder))


@pytest.mark.parametrize("stamp", [FORMAT_VERSION + 1, "x", ""])
def test_another_stamp_is_refused(folder: Path, stamp: object) -> None:
    write(folder, read(folder), stamp=stamp)
    with pytest.raises(CheckpointError, match=f"{STAMP} '{stamp}', expected .*again"):
        load_model(folder, load_config(folder))


def test_a_file_without_a_stamp_is_refused(folder: Path) -> None:
    mx.save_safetensors(str(folder / WEIGHTS_FILE), read(folder))
    with pytest.raises(CheckpointError, match=f"{WEIGHTS_FILE} has {STAMP} None"):
        load_model(folder, load_config(folder))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.9, 0.9999])
def test_a_file_cut_off_is_named(folder: Path, share: float) -> None:
    """In its length, in its header or in its data."""
    file = folder / WEIGHTS_FILE
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_model(folder, load_config(folder))


def test_a_file_of_something_else_is_named(folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(CheckpointError, match=f"{WEIGHTS_FILE} cannot be read"):
        load_model(folder, load_config(folder))


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(CheckpointError, match=f"{WEIGHTS_FILE} is missing; convert"):
        load_model(folder, load_config(folder))


def test_a_missing_shard_is_named(folder: Path) -> None:
    write_shards(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="00002-of-00002.safetensors is missing"):
        load_model(folder, load_config(folder))


@pytest.mark.parametrize("weight_map", [None, 5, [], ["a"], "x", {}, {"a": ["b"]}])
def test_a_damaged_index_is_an_error_of_the_checkpoint(
    folder: Path, weight_map: object
) -> None:
    write_index(folder, weight_map)
    with pytest.raises(CheckpointError, match="weight_map|is missing"):
        load_model(folder, load_config(folder))


def test_an_index_does_not_lead_out_of_its_folder(folder: Path) -> None:
    outside = folder.parent / "outside.safetensors"
    shutil.copy(folder / WEIGHTS_FILE, outside)
    write_index(folder, {name: "../outside.safetensors" for name in read(folder)})
    with pytest.raises(CheckpointError, match="model/outside.safetensors is missing"):
        load_model(folder, load_config(folder))


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="config.json is missing"):
        load_model(tmp_path, load_config(tmp_path))


def test_an_unknown_language_model_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["model_type"] = "os"  # mlx_lm.models.os must not be tried
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="'os'; expected one of qwen2, llama"):
        load_model(folder, load_config(folder))
