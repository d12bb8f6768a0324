"""Whatever a folder holds, the answer is its tensors or a CheckpointError."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from convert import Recipe, convert_checkpoint, inspect_folder
from convert.source import Source, Tensors
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import CheckpointError, FastVLMError
from tests.convert.folders import GOLDENS, INDEX, arrays_of, copy_golden, edit_json
from tests.opened_files import opened_files

SINGLE = "model.safetensors"
SHARDS = ("model-1.safetensors", "model-2.safetensors")

# the folder is the same for all examples of a test; each overwrites one file in it
shared_folder = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def write_index(folder: Path, weight_map: object) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    for name, shard in zip("ab", SHARDS, strict=True):
        save_file({name: np.ones(3, np.float32)}, tmp_path / shard)
    write_index(tmp_path, dict(zip("ab", SHARDS, strict=True)))
    return tmp_path


@pytest.fixture(scope="module")
def whole() -> bytes:
    """A safetensors file, as bytes to be cut."""
    return (GOLDENS / "fast_vlm-fused" / SINGLE).read_bytes()


def test_every_tensor_of_every_layout(name: str) -> None:
    expected, found = arrays_of(GOLDENS / name), Source(GOLDENS / name).tensors()
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        assert np.array_equal(np.array(found[key]), array)


def test_shards(sharded: Path) -> None:
    assert Source(sharded).tensors().keys() == {"a", "b"}


def test_files_beside_the_index_are_left_alone(sharded: Path) -> None:
    save_file({"c": np.ones(3, np.float32)}, sharded / "optimizer.safetensors")
    assert Source(sharded).tensors().keys() == {"a", "b"}


@pytest.mark.parametrize(
    "file",
    [
        "../outside.safetensors",
        "sub/inside.safetensors",
        "pytorch_model-00001-of-00002.bin",
        "..",
        "",
        "a\0.safetensors",
    ],
)
def test_an_index_may_not_lead_out_of_its_folder(sharded: Path, file: str) -> None:
    (sharded / "sub").mkdir()
    for path in ("../outside", "sub/inside"):
        save_file({"a": np.ones(3, np.float32)}, sharded / f"{path}.safetensors")
    write_index(sharded, {"a": file})
    with pytest.raises(CheckpointError):
        Source(sharded).tensors()


def test_an_index_may_not_name_an_absolute_path(sharded: Path) -> None:
    write_index(sharded, {"a": str(sharded / SHARDS[0])})
    with pytest.raises(CheckpointError, match="next to it"):
        Source(sharded).tensors()


def test_a_missing_shard_is_named(sharded: Path) -> None:
    (sharded / SHARDS[1]).unlink()
    with pytest.raises(CheckpointError, match=SHARDS[1]):
        Source(sharded).tensors()


def test_a_tensor_in_two_shards_is_named(sharded: Path) -> None:
    both = {name: np.ones(3, np.float32) for name in "ba"}
    save_file(both, sharded / SHARDS[1])
    with pytest.raises(CheckpointError, match="a is in two files"):
        Source(sharded).tensors()


def test_a_lost_tensor_is_named(sharded: Path) -> None:
    write_index(sharded, {"a": SHARDS[0], "b": SHARDS[1], "lost.weight": SHARDS[0]})
    with pytest.raises(CheckpointError, match=r"lost\.weight"):
        Source(sharded).tensors()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '"index"', "null", "{}", '{"weight_map": {}}', "\xff\xfe"],
)
def test_an_index_that_is_none(sharded: Path, text: str) -> None:
    (sharded / INDEX).write_bytes(text.encode("latin-1"))
    with pytest.raises(FastVLMError, match=INDEX):
        Source(sharded).tensors()


@pytest.mark.parametrize("weight_map", [[], ["a"], "a", 1, None, {"a": None}])
def test_an_index_with_another_map(sharded: Path, weight_map: object) -> None:
    write_index(sharded, weight_map)
    with pytest.raises(CheckpointError):
        Source(sharded).tensors()


@shared_folder
@given(data=st.data())
def test_a_file_cut_off_anywhere(
    tmp_path: Path, whole: bytes, data: st.DataObject
) -> None:
    (header,) = np.frombuffer(whole[:8], np.uint64)
    edges = st.sampled_from([0, 1, 7, 8, 9, int(header) + 7, int(header) + 8])
    length = data.draw(edges | st.integers(0, len(whole) - 1))
    (tmp_path / SINGLE).write_bytes(whole[:length])
    with pytest.raises(CheckpointError, match="cut off"):
        Source(tmp_path).tensors()


@shared_folder
@given(position=st.integers(0, 3000), byte=st.integers(0, 255))
def test_a_header_with_one_byte_changed(
    tmp_path: Path, whole: bytes, position: int, byte: int
) -> None:
    """Never anything but arrays or a CheckpointError."""
    damaged = bytearray(whole)
    damaged[position] = byte
    (tmp_path / SINGLE).write_bytes(damaged)
    try:
        assert Source(tmp_path).tensors()
    except CheckpointError as error:
        assert SINGLE in str(error)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 64, b"not weights\n", b"\xff" * 64, b"PK\x03\x04" * 8]
)
def test_a_file_that_is_no_safetensors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SINGLE).write_bytes(content)
    with pytest.raises(CheckpointError, match=SINGLE):
        Source(tmp_path).tensors()


@pytest.mark.parametrize("file", ["pytorch_model.bin", "weights.pt", "a.ckpt", "b.pkl"])
def test_pickles_are_refused(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_bytes(b"never read")
    with pytest.raises(CheckpointError, match="pickled weights") as error:
        Source(tmp_path).tensors()
    assert file in str(error.value)


@pytest.mark.parametrize(
    ("files", "message"),
    [([], "has no model.safetensors"), (["other.safetensors"], "other.safetensors")],
)
def test_nothing_to_read(tmp_path: Path, files: list[str], message: str) -> None:
    for file in files:
        save_file({"a": np.ones(3)}, tmp_path / file)
    with pytest.raises(CheckpointError, match=message):
        Source(tmp_path).tensors()


# --- Tensors ----------------------------------------------------------------------


@pytest.fixture
def tensors() -> Tensors:
    arrays = {"a": mx.ones((2, 3)), "b": mx.ones(4), "c": mx.ones(4, mx.int32)}
    return Tensors(arrays, origin=lambda name: f"file.{name}")


def test_take_hands_out_once(tensors: Tensors) -> None:
    assert tensors.take("a", 2, 3).shape == (2, 3)
    assert "a" not in tensors
    tensors.take("a", 2, 3)
    assert tensors.faults == ["missing file.a"]


@pytest.mark.parametrize(
    ("take", "fault"),
    [
        (lambda tensors: tensors.take("x", 5), "missing file.x"),
        (lambda tensors: tensors.take("b", 5), "file.b has the shape (4,)"),
        (lambda tensors: tensors.take("b", 2, 2), "expected (2, 2)"),
        (lambda tensors: tensors.take("c", 4), "file.c holds int32"),
        (lambda tensors: None, "unknown file.a"),
    ],
)
def test_finish_names_what_did_not_fit(
    tensors: Tensors, take: Callable[[Tensors], object], fault: str
) -> None:
    take(tensors)
    with pytest.raises(CheckpointError) as error:
        tensors.finish()
    assert fault in str(error.value)


def test_finish_counts_what_it_does_not_name() -> None:
    arrays = {f"t{number}": mx.ones(1) for number in range(10)}
    with pytest.raises(CheckpointError, match="and 4 more"):
        Tensors(arrays, str).finish()


def test_finish_is_silent_when_all_is_taken(tensors: Tensors) -> None:
    tensors.take("a", 2, 3)
    tensors.take("b", 4)
    tensors.drop("c", "not needed")
    tensors.finish()
    assert tensors.dropped == {"file.c": "not needed"}


# --- each file once ---------------------------------------------------------------


def json_files(opened: list[Path], folder: Path) -> dict[str, int]:
    """How often each of a folder's JSON files was opened."""
    names = [file.name for file in opened if file.parent == folder]
    return {name: names.count(name) for name in names if name.endswith(".json")}


def test_a_conversion_opens_each_json_file_once(name: str, tmp_path: Path) -> None:
    source = copy_golden(name, tmp_path / "source")
    edit_json(source / "preprocessor_config.json", do_resize=True)
    edit_json(source / "generation_config.json", eos_token_id=[1])
    with opened_files() as opened:
        convert_checkpoint(source, tmp_path / "out")
    counted = json_files(opened, source)
    assert {"config.json", "preprocessor_config.json", "generation_config.json"} <= (
        counted.keys()
    )
    assert set(counted.values()) == {1}


def test_a_converted_folder_is_quantized_with_each_json_file_opened_once(
    converted_golden: Callable[[str], Path], tmp_path: Path
) -> None:
    source = Path(shutil.copytree(converted_golden("apple-train"), tmp_path / "source"))
    with opened_files() as opened:
        convert_checkpoint(
            source, tmp_path / "out", recipe=Recipe(8), quality_samples=0
        )
    assert set(json_files(opened, source).values()) == {1}


def test_an_inspection_opens_each_json_file_once(name: str, tmp_path: Path) -> None:
    source = copy_golden(name, tmp_path / "source")
    with opened_files() as opened:
        inspect_folder(source)
    assert set(json_files(opened, source).values()) == {1}


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    plain, marked = tmp_path / "plain", tmp_path / "marked"
    for folder in (plain, marked):
        copy_golden("fast_vlm-train", folder)
    for file in marked.glob("*.json"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    one = convert_checkpoint(plain, tmp_path / "a", source_name="x")
    other = convert_checkpoint(marked, tmp_path / "b", source_name="x")
    assert one.config == other.config


def test_a_file_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = copy_golden("apple-train", tmp_path / "source")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("convert.source.safe_open", refuse)
    with pytest.raises(CheckpointError, match="cannot be read: Permission denied"):
        Source(source).tensors()
