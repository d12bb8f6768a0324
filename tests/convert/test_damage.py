"""Checkpoints with one thing wrong: a named error, exit code 2, the target untouched.

Missing, extra and misshapen tensors, one by one, are in test_checkpoint.py; here are
the kinds of damage that files and configurations take.
"""

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fastvlm_mlx import cli
from tests.convert.folders import GOLDENS, INDEX, alter, copy_golden, edit_json

Damage = Callable[[Path], object]
WEIGHTS = "model.safetensors"
NANO = GOLDENS.parents[1] / "fastvlm_mlx" / "assets" / "nano"
TOWER = "model.vision_tower.vision_tower.model."


def header(text: str, data: bytes = bytes(64)) -> Damage:
    """Replace the weights by a file with that header."""
    encoded = text.encode()
    content = struct.pack("<Q", len(encoded)) + encoded + data
    return lambda folder: (folder / WEIGHTS).write_bytes(content)


def value(name: str, number: float) -> Damage:
    """Put a number into the middle of a tensor."""

    def damage(arrays: dict[str, Any]) -> None:
        array = arrays[name].copy()
        array.reshape(-1)[array.size // 2] = number
        arrays[name] = array

    return lambda folder: alter(folder, damage)


def dtype(name: str, kind: Any) -> Damage:
    def damage(arrays: dict[str, Any]) -> None:
        arrays[name] = arrays[name].astype(kind)

    return lambda folder: alter(folder, damage)


def states(**values: Any) -> Damage:
    """Keys of config.json."""
    return lambda folder: edit_json(folder / "config.json", **values)


def index(weight_map: object) -> Damage:
    text = json.dumps({"weight_map": weight_map})
    return lambda folder: (folder / INDEX).write_text(text)


def cut(share: float) -> Damage:
    """The beginning of the weights only."""

    def damage(folder: Path) -> None:
        content = (folder / WEIGHTS).read_bytes()
        (folder / WEIGHTS).write_bytes(content[: int(share * len(content))])

    return damage


def in_two_files(folder: Path) -> None:
    arrays = load_file(folder / WEIGHTS)
    first = next(iter(arrays))
    save_file({first: arrays[first]}, folder / "more.safetensors")
    weight_map = {name: WEIGHTS for name in arrays} | {"x": "more.safetensors"}
    index(weight_map)(folder)


def one(dtype: str, shape: str = "[2]", end: int = 8) -> str:
    return f'{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}'


NORM, QUERY = "model.norm.weight", "model.layers.0.self_attn.q_proj.weight"
FC1, MEAN = (
    f"{TOWER}network.0.0.convffn.{part}"
    for part in ("fc1.weight", "conv.bn.running_mean")
)

IMPOSSIBLE: tuple[Any, ...] = (-1, 10**9, 10**30, 1.5, "64", [64], {}, True)
WRONG: tuple[Any, ...] = (-1, "x", [1], float("inf"))

DAMAGES: dict[str, tuple[Damage, str]] = {
    **{
        f"cut at {share}": (cut(share), WEIGHTS)
        for share in (0, 0.001, 0.1, 0.5, 0.999)
    },
    **{
        f"{number} in {name[-20:]}": (value(name, number), "not numbers|NaN")
        for number in (np.nan, np.inf, -np.inf)
        for name in (NORM, QUERY, FC1, MEAN, "lm_head.weight")
    },
    **{
        f"{kind.__name__} in {name[-20:]}": (dtype(name, kind), name)
        for kind in (np.float64, np.int8, np.uint16, np.int64, np.bool_)
        for name in (NORM, QUERY, FC1, MEAN)
    },
    "8-bit floats": (header(one("F8_E4M3", "[8]"), bytes(8)), "F8_E4M3"),
    "double precision": (header(one("F64", "[1]"), bytes(8)), "F64"),
    "an unknown dtype": (header(one("F99")), WEIGHTS),
    "a negative shape": (header(one("F32", "[-2]")), WEIGHTS),
    "a shape that does not fit": (header(one("F32", "[3]")), WEIGHTS),
    "data that ends early": (header(one("F32"), bytes(4)), WEIGHTS),
    "data that goes on": (header(one("F32"), bytes(99)), WEIGHTS),
    "a header of nothing": (header(""), WEIGHTS),
    "a header of a list": (header("[]"), WEIGHTS),
    "no tensors": (header("{}", b""), "No FastVLM vision tower among 0"),
    "the same key twice": (
        header('{"a":' + one("F32")[5:-1] + "," + one("F32")[1:], bytes(8)),
        "a is in .* twice",
    ),
    "a header as long as the world": (
        lambda folder: (folder / WEIGHTS).write_bytes(b"\xff" * 64),
        WEIGHTS,
    ),
    "a tensor in two files": (in_two_files, "in two files"),
    **{
        f"index to {name!r}": (index({"a": name}), "next to it|is missing|weight_map")
        for name in (
            "../x.safetensors",
            "/etc/passwd",
            "a/b.safetensors",
            "x.bin",
            "",
            "..",
            "gone.safetensors",
            "~/x.safetensors",
        )
    },
    "an index of nothing": (index({}), "weight_map"),
    "an index of a list": (index(["a"]), "weight_map"),
    **{
        f"{key} is {number!r}": (
            states(**{key: number}),
            r"config\.json|TextConfig|"
            "heads|rope|built|fit|states",
        )
        for key in (
            "hidden_size",
            "num_hidden_layers",
            "intermediate_size",
            "num_attention_heads",
            "num_key_value_heads",
            "vocab_size",
        )
        for number in IMPOSSIBLE
    },
    **{
        f"{key} is {number!r}": (states(**{key: number}), r"config\.json|Config")
        for key in ("rms_norm_eps", "rope_theta")
        for number in WRONG
    },
    "images of 10 pixels": (states(mm_vision_tower="mobileclip_l_10"), "10x10"),
    "images without end": (states(mm_vision_tower=f"mobileclip_l_{64**9}"), "Config"),
    "another activation": (states(hidden_act="gelu"), "hidden_act"),
    "sliding windows": (states(use_sliding_window=True), "sliding-window"),
}


def test_damage_is_named_and_the_target_untouched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], subtests: pytest.Subtests
) -> None:
    source, target = tmp_path / "source", tmp_path / "out"
    shutil.copytree(NANO, target)
    before = {file.name: file.read_bytes() for file in target.iterdir()}
    for damage, (inflict, message) in DAMAGES.items():
        copy_golden("apple-train", source)
        inflict(source)
        with subtests.test(damage):
            assert cli.main(["convert", str(source), str(target), "--overwrite"]) == 2
            err = capsys.readouterr().err
            assert "Traceback" not in err
            assert re.search(message, err), err
            assert {file.name: file.read_bytes() for file in target.iterdir()} == before
            assert sorted(each.name for each in tmp_path.iterdir()) == ["out", "source"]
        shutil.rmtree(source)


def test_there_are_more_than_a_hundred() -> None:
    assert len(DAMAGES) > 100
