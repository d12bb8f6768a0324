"""Whole conversions: of sound folders, and of folders with one thing wrong."""

import json
import re
import subprocess
import sys
from dataclasses import asdict, astuple
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert import Recipe, convert_checkpoint
from convert.names import TOWER, detect_layout
from convert.source import Source, Tensors
from fastvlm_mlx.config import Packing
from fastvlm_mlx.device.backend import DTYPES, mx
from fastvlm_mlx.errors import (
    CheckpointError,
    ConfigError,
    FastVLMError,
    OptionError,
    WriteError,
)
from fastvlm_mlx.model.fastvlm import FastVLMModel
from fastvlm_mlx.model_folder import load_config
from fastvlm_mlx.text.prompt import Message
from fastvlm_mlx.text.tokenizer import ChatTokenizer
from fastvlm_mlx.weights import load_model
from tests.convert.folders import (
    GOLDENS,
    NAMES,
    Arrays,
    alter,
    arrays_of,
    copy_golden,
    edit_json,
    store,
)

ROOT = Path(__file__).parents[2]
SAMPLE = 40

# Never used, or where the flag may stand in for the tensor.
OPTIONAL = re.compile(r"num_batches_tracked$|head\.proj$|^lm_head\.weight$")

# Sizes are read from these, so it is their neighbours that do not fit them.
STATES_SIZES = re.compile(
    r"\.0\.(convffn|mlp)\.fc1\.weight$|\.se\.(reduce|fc1)\.weight$"
)


def kind(name: str) -> str:
    """A tensor's name without its numbers: what it is, wherever it is."""
    return re.sub(r"\d+", "#", name)


def sample(name: str) -> list[str]:
    """Needed tensors of a golden folder: every kind, spread over the network."""
    needed = [
        key for key in sorted(arrays_of(GOLDENS / name)) if not OPTIONAL.search(key)
    ]
    by_kind = {kind(key): key for key in needed}
    chosen = sorted(by_kind.values())
    step = max(1, len(needed) // max(1, SAMPLE - len(chosen)))
    return sorted(
        {*chosen[:SAMPLE], *needed[::step]} if len(chosen) < SAMPLE else chosen
    )


def fails(source: Path, *named: str) -> str:
    """The message of a conversion that must fail and leave nothing."""
    output = source.parent / "out"
    with pytest.raises(CheckpointError) as error:
        convert_checkpoint(source, output)
    assert not output.exists()
    assert list(source.parent.iterdir()) == [source]
    message = str(error.value)
    assert all(name in message for name in named), message
    return message


@pytest.fixture(scope="module")
def arrays() -> dict[str, Arrays]:
    """The golden tensors, read once; tests change copies of the dict."""
    return {name: arrays_of(GOLDENS / name) for name in NAMES}


@pytest.fixture
def folder(name: str, tmp_path: Path) -> Path:
    """A golden folder whose tensors are stored anew with each fault."""
    return copy_golden(name, tmp_path / name)


# --- one tensor wrong -------------------------------------------------------------


def test_a_missing_tensor_is_named(
    name: str, arrays: dict[str, Arrays], folder: Path, subtests: pytest.Subtests
) -> None:
    for key in sample(name):
        with subtests.test(key):
            store({k: v for k, v in arrays[name].items() if k != key}, folder)
            fails(folder, key)


def test_a_misshapen_tensor_is_named(
    name: str, arrays: dict[str, Arrays], folder: Path, subtests: pytest.Subtests
) -> None:
    """One row more."""
    for key in sample(name)[::3]:
        array = arrays[name][key]
        named = key.rsplit(".", 2)[0] if STATES_SIZES.search(key) else key
        with subtests.test(key):
            store(arrays[name] | {key: np.concatenate([array, array[:1]])}, folder)
            fails(folder, named)


def test_a_tensor_with_another_axis_is_named(
    name: str, arrays: dict[str, Arrays], folder: Path, subtests: pytest.Subtests
) -> None:
    for key in sample(name)[::3]:
        with subtests.test(key):
            store(arrays[name] | {key: arrays[name][key][None]}, folder)
            fails(folder, key)


def test_whole_numbers_are_no_weights(
    name: str, arrays: dict[str, Arrays], folder: Path, subtests: pytest.Subtests
) -> None:
    """Packed weights read as numbers would make a model that speaks nonsense."""
    for key, dtype in product(sample(name)[::9], (np.int8, np.int64, np.uint32)):
        with subtests.test(key, dtype=dtype.__name__):
            store(arrays[name] | {key: arrays[name][key].astype(dtype)}, folder)
            fails(folder, key)


TOWERS = {
    "llava_qwen2": "model.vision_tower.vision_tower.model.",
    "fast_vlm": "model.vision_tower.timm_model.",
}


EXTRAS = (
    "extra.weight",
    "model.layers.7.self_attn.q_proj.weight",
    "model.vision_tower.extra",
    "vision_tower.extra",
    "{tower}extra.weight",
    "{tower}network.0.7.extra",
    "{tower}stages.9.blocks.0.layer_scale",
    "{tower}patch_embed.0.rbr_conv.9.conv.weight",
)


def test_an_extra_tensor_is_named(
    name: str, arrays: dict[str, Arrays], folder: Path, subtests: pytest.Subtests
) -> None:
    tower = TOWERS[detect_layout(arrays[name])]
    for extra in (each.format(tower=tower) for each in EXTRAS):
        # a block, stage or branch of its own shifts what is expected and named then
        shifts = re.search(r"network\.0\.7|stages\.9|rbr_conv\.9", extra)
        with subtests.test(extra):
            store(arrays[name] | {extra: np.ones(1, np.float16)}, folder)
            fails(folder, *([] if shifts else [extra]))


@pytest.mark.parametrize(
    "branch",
    [
        "patch_embed.1.rbr_conv.",
        "patch_embed.2.rbr_skip.",
        "network.0.0.token_mixer.mixer.rbr_conv.",
        "network.0.0.token_mixer.mixer.rbr_scale.",
        "network.0.0.token_mixer.mixer.rbr_skip.",
        "network.0.0.token_mixer.mixer.",
        "network.0.0.token_mixer.norm.",
        "network.1.proj.0.lkb_origin.",
        "network.1.proj.0.small_conv.",
        "network.1.proj.1.rbr_conv.",
        "network.1.proj.1.rbr_skip.",
        "network.1.proj.",
        "conv_exp.rbr_conv.",
        "conv_exp.rbr_scale.",
        "conv_exp.se.",
    ],
)
def test_a_whole_branch_that_is_missing(source: Path, branch: str) -> None:
    """A sum with a branch less is a sum all the same; it must not pass."""

    def lose(arrays: Arrays) -> None:
        lost = [key for key in arrays if f".{branch}" in key]
        assert lost
        for key in lost:
            del arrays[key]

    alter(source, lose)
    fails(source)


# --- nothing wrong ----------------------------------------------------------------


def test_every_tensor_is_used_once_or_dropped(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """used + dropped = read."""
    taken: list[str] = []
    take = Tensors.take

    def count(self: Tensors, key: str, *shape: int) -> mx.array:
        taken.append(key)
        return take(self, key, *shape)

    monkeypatch.setattr(Tensors, "take", count)
    report = convert_checkpoint(GOLDENS / name, tmp_path / "out")
    assert len(taken) == len(set(taken))
    assert len(taken) + len(report.dropped) == report.tensors_read
    assert report.dropped.keys() <= arrays_of(GOLDENS / name).keys()
    assert report.tensors_read == len(arrays_of(GOLDENS / name))


def test_the_report_describes_the_folder(name: str, tmp_path: Path) -> None:
    report = convert_checkpoint(GOLDENS / name, tmp_path / "out", source_name="a/b")
    written = Source(tmp_path / "out").tensors()
    assert report.tensors_written == len(written)
    assert report.parameters == sum(array.size for array in written.values())
    assert report.bytes_written == sum(array.nbytes for array in written.values())
    assert report.bits_per_weight == 8 * report.bytes_written / report.parameters
    assert load_config(tmp_path / "out") == report.config
    assert report.config.source == "a/b"


def test_the_folder_is_called_after_its_source(name: str, tmp_path: Path) -> None:
    assert convert_checkpoint(GOLDENS / name, tmp_path / "o").config.source == name


def test_a_prompt_can_be_built(name: str, tmp_path: Path) -> None:
    """Tokenizer, template and config fit each other."""
    config = convert_checkpoint(GOLDENS / name, tmp_path / "out").config
    tokenizer = ChatTokenizer(tmp_path / "out", config)
    prompt = tokenizer.build([Message("user", "What is in this picture?", 1)], [4])
    assert prompt.token_ids.count(config.image_token_index) == 4
    assert "<|im_end|>" in {tokenizer.token_text(end) for end in config.eos_token_ids}


# --- dtype and bits ---------------------------------------------------------------


def dtypes(folder: Path) -> dict[str, mx.Dtype]:
    return {name: array.dtype for name, array in Source(folder).tensors().items()}


def test_nothing_is_lost_by_default(name: str, tmp_path: Path) -> None:
    """What was folded has more digits than the file; the rest has the file's."""
    convert_checkpoint(GOLDENS / name, tmp_path / "out")
    for key, dtype in dtypes(tmp_path / "out").items():
        assert dtype == (mx.float32 if key.startswith(TOWER) else mx.float16)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype(name: str, dtype: str, tmp_path: Path) -> None:
    convert_checkpoint(GOLDENS / name, tmp_path / "out", dtype=dtype)
    assert set(dtypes(tmp_path / "out").values()) == {DTYPES[dtype]}


@pytest.mark.parametrize("dtype", ["float64", "int8", "", "FLOAT16"])
def test_an_unknown_dtype(source: Path, tmp_path: Path, dtype: str) -> None:
    with pytest.raises(OptionError, match="float32, bfloat16, float16"):
        convert_checkpoint(source, tmp_path / "out", dtype=dtype)


def logits(model: FastVLMModel) -> Any:
    return np.array(model(model.embed(range(20))))


def unpacked(folder: Path) -> list[tuple[str, mx.array]]:
    """The matrices of a quantized folder, as numbers again."""
    arrays = Source(folder).tensors()
    modules = [key.removesuffix(".scales") for key in arrays if key.endswith(".scales")]
    quantization = load_config(folder).quantization
    assert quantization is not None
    return [
        (
            f"{module}.weight",
            mx.dequantize(
                arrays[f"{module}.weight"],
                _whole(arrays[f"{module}.scales"]),
                _whole(arrays.get(f"{module}.biases")),
                **asdict(Packing(*astuple(quantization.of(module))[:3])),
            ).astype(mx.float32),
        )
        for module in modules
    ]


def _whole(array: mx.array | None) -> Any:
    half = array is not None and array.dtype == mx.float16
    return array.astype(mx.float32) if half and array is not None else array


RECIPES = [
    Recipe(4, 32, embed_bits=16, head_bits=16),
    Recipe(8, projector_bits=8, tower_bits=8),
    Recipe(2, 32, tower_bits=6, projector_bits=3),
    Recipe.named("mixed-3-6", group_size=32),
    Recipe(mode="mxfp4"),
    Recipe(mode="mxfp8", tower_bits=8),
    Recipe(mode="nvfp4", embed_bits=5),
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_bits(name: str, tmp_path: Path, recipe: Recipe) -> None:
    """The packed model computes what its own unpacked matrices do."""
    full = convert_checkpoint(GOLDENS / name, tmp_path / "full")
    few = convert_checkpoint(
        GOLDENS / name, tmp_path / "few", recipe=recipe, quality_samples=0
    )
    assert load_config(tmp_path / "few") == few.config
    assert few.config.quantization is not None
    assert few.parameters == full.parameters
    assert few.bytes_written < full.bytes_written
    model = load_model(
        tmp_path / "full", load_config(tmp_path / "full"), dtype="float32"
    )
    before = logits(model)
    model.load_weights(unpacked(tmp_path / "few"), strict=False)
    found = logits(
        load_model(tmp_path / "few", load_config(tmp_path / "few"), dtype="float32")
    )
    assert found == pytest.approx(logits(model), abs=1e-3)
    assert np.abs(found - before).max() > 1e-3  # packed indeed


def test_a_quantized_tower(name: str, tmp_path: Path) -> None:
    """Eight bits change the features a little; what does not fit is told."""
    recipe = Recipe(tower_bits=8, group_size=32)
    convert_checkpoint(GOLDENS / name, tmp_path / "full")
    few = convert_checkpoint(
        GOLDENS / name, tmp_path / "few", recipe=recipe, quality_samples=0
    )
    assert all(path.startswith("vision_tower.") for path in few.left)
    pixel_values = mx.random.uniform(shape=(1, 128, 128, 3), key=mx.random.key(0))
    before, after = (
        load_model(
            tmp_path / folder, load_config(tmp_path / folder), dtype="float32"
        ).encode_image(pixel_values)
        for folder in ("full", "few")
    )
    error = mx.linalg.norm(after - before) / mx.linalg.norm(before)
    assert 0 < float(np.array(error)) < 0.05


def test_groups_that_fit_nowhere_leave_nothing(name: str, tmp_path: Path) -> None:
    recipe = Recipe(group_size=128, embed_bits=4)
    with pytest.raises(OptionError, match="smaller --group-size"):
        convert_checkpoint(GOLDENS / name, tmp_path / "out", recipe=recipe)
    assert not list(tmp_path.iterdir())


# --- folders ----------------------------------------------------------------------


def test_a_converted_folder_is_not_converted_again(name: str, tmp_path: Path) -> None:
    convert_checkpoint(GOLDENS / name, tmp_path / "once")
    with pytest.raises(CheckpointError, match="converted already"):
        convert_checkpoint(tmp_path / "once", tmp_path / "twice")
    assert not (tmp_path / "twice").exists()


@pytest.mark.parametrize("output", ["source", "source/../source", "."])
def test_the_source_is_never_replaced(
    source: Path, tmp_path: Path, output: str
) -> None:
    """Folded weights cannot be unfolded again."""
    edit_json(tmp_path / "config.json")  # so the folder around it is a model too
    before = {file: file.read_bytes() for file in source.iterdir()}
    with pytest.raises(CheckpointError, match="source"):
        convert_checkpoint(source, tmp_path / output, overwrite=True)
    assert {file: file.read_bytes() for file in source.iterdir()} == before


def test_a_folder_inside_the_source_is_fine(source: Path) -> None:
    convert_checkpoint(source, source / "mlx")
    assert load_model(source / "mlx", load_config(source / "mlx"))


def test_a_source_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for source in ("file", "nowhere"):
        with pytest.raises(CheckpointError, match="not a folder"):
            convert_checkpoint(tmp_path / source, tmp_path / "out")


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(tmp_path: Path, lost: str) -> None:
    source = copy_golden("fast_vlm-train", tmp_path / "source")
    (source / lost).unlink()
    fails(source, lost)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_a_config_that_is_no_json_object(source: Path, text: str) -> None:
    (source / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json"):
        convert_checkpoint(source, source.parent / "out")


@pytest.mark.parametrize("model_type", ["qwen2_vl", "fast_vlm", "clip", 7, None])
def test_a_config_of_another_kind(source: Path, model_type: object) -> None:
    edit_json(source / "config.json", model_type=model_type)
    with pytest.raises(ConfigError, match="model_type"):
        convert_checkpoint(source, source.parent / "out")


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": 128},
        {"intermediate_size": 64},
        {"num_hidden_layers": 1},
        {"num_hidden_layers": 3},
        {"num_key_value_heads": 4},
        {"vocab_size": 385},
        {"mm_hidden_size": 64},
        {"model_type": "llava_llama"},
    ],
)
def test_a_config_that_contradicts_the_tensors(
    source: Path, change: dict[str, Any]
) -> None:
    edit_json(source / "config.json", **change)
    fails(source)


NONSENSE: tuple[object, ...] = ("x", [1], {}, 0, -1, None, 10**30)


@pytest.mark.parametrize(
    "key",
    ["rms_norm_eps", "rope_scaling", "max_position_embeddings", "intermediate_size"],
)
def test_nonsense_in_config_json_leaves_nothing(
    source: Path, key: str, subtests: pytest.Subtests
) -> None:
    """A model that loads, or an error of the family."""
    values = json.loads((source / "config.json").read_text())
    for number, value in enumerate(NONSENSE):
        (source / "config.json").write_text(json.dumps(values | {key: value}))
        output = source.parent / f"out-{number}"
        with subtests.test(value=value):
            try:
                convert_checkpoint(source, output)
            except FastVLMError:
                assert not output.exists()
            else:
                load_model(output, load_config(output))


def test_a_place_that_cannot_be_written(source: Path, tmp_path: Path) -> None:
    """Below a file, since root may write everywhere else."""
    (tmp_path / "file").write_text("kept")
    with pytest.raises(WriteError, match="cannot be written"):
        convert_checkpoint(source, tmp_path / "file" / "out")
    assert (tmp_path / "file").read_text() == "kept"


def test_the_source_is_only_read(name: str, tmp_path: Path) -> None:
    source = copy_golden(name, tmp_path / "source")
    before = {file: file.read_bytes() for file in source.iterdir()}
    convert_checkpoint(source, tmp_path / "out")
    assert {file: file.read_bytes() for file in source.iterdir()} == before


def test_the_same_source_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    for output in ("first", "second"):
        convert_checkpoint(GOLDENS / name, tmp_path / output)
    first, second = (
        {file.name: file.read_bytes() for file in (tmp_path / output).iterdir()}
        for output in ("first", "second")
    )
    assert first == second


@pytest.mark.parametrize(
    ("file", "keys", "value"),
    [
        ("config.json", ["text_config", "hidden_act"], "gelu"),
        ("config.json", ["text_config", "head_dim"], 8),
        ("config.json", ["projector_hidden_act"], "relu"),
        ("config.json", ["image_aspect_ratio"], "anyres"),
        ("config.json", ["mm_use_im_start_end"], True),
        ("preprocessor_config.json", ["image_mean"], [0.48, 0.45, 0.4]),
    ],
)
def test_settings_that_would_change_the_numbers_are_refused(
    file: str, keys: list[str], value: object, tmp_path: Path
) -> None:
    source = copy_golden("fast_vlm-fused", tmp_path / "source")
    values = json.loads((source / file).read_text())
    part = values
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    (source / file).write_text(json.dumps(values))
    with pytest.raises(ConfigError):
        convert_checkpoint(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- memory -----------------------------------------------------------------------

MEASURED = """
import resource, sys
from pathlib import Path
from convert import Recipe, convert_checkpoint

source, target, bits = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
recipe = Recipe(bits=bits, embed_bits=bits) if bits else None
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
convert_checkpoint(source, target, recipe=recipe, quality_samples=0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("bits", [0, 4])
def test_memory_stays_near_what_is_written(tmp_path: Path, bits: int) -> None:
    """A head and an embedding of 67 MB each dwarf everything else here."""
    source = copy_golden("fast_vlm-fused", tmp_path / "source")
    rows = 1 << 19
    edit = json.loads((source / "config.json").read_text())
    edit["text_config"]["vocab_size"] = rows
    (source / "config.json").write_text(json.dumps(edit))
    outer = np.zeros((rows, 64), np.float16)
    names = ("model.language_model.embed_tokens.weight", "lm_head.weight")
    alter(source, lambda arrays: arrays.update({names[0]: outer, names[1]: outer + 1}))
    words = [
        sys.executable,
        "-c",
        MEASURED,
        str(source),
        str(tmp_path / "o"),
        str(bits),
    ]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes here
    written = (tmp_path / "o" / "model.safetensors").stat().st_size
    shard = (source / "model.safetensors").stat().st_size
    room = 60e6  # for the tower's measuring and the libraries
    assert int(done.stdout) * unit < 1.3 * shard + written * bool(bits) + room
