"""The output folder is there whole, or as it was before."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from convert import Recipe, convert_checkpoint, write
from convert.checkpoint import Format
from convert.source import Source
from convert.write import whole_folder, write_weights
from fastvlm_mlx.atomic_file import temporaries, temporary_path
from fastvlm_mlx.config import FORMAT_VERSION, STAMP
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import CheckpointError, WriteError
from fastvlm_mlx.model_folder import load_config
from fastvlm_mlx.weights import load_model
from tests.convert.folders import GOLDENS, INDEX

ROOT = Path(__file__).parents[2]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def fill(target: Path, overwrite: bool = False) -> None:
    with whole_folder(target, overwrite) as folder:
        (folder / "config.json").write_text("new")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that looks like a model and may be replaced."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({STAMP: FORMAT_VERSION}))
    (folder / "NOTICE").write_text("kept")
    return folder


@pytest.mark.parametrize("prepare", [lambda target: None, Path.mkdir])
def test_a_new_folder(tmp_path: Path, prepare: Callable[[Path], None]) -> None:
    target = tmp_path / "out"
    prepare(target)
    fill(target)
    assert contents(target) == {"config.json": b"new"}
    assert os.listdir(tmp_path) == ["out"]


def test_parents_are_made(tmp_path: Path) -> None:
    fill(tmp_path / "a" / "b" / "out")
    assert contents(tmp_path / "a" / "b" / "out") == {"config.json": b"new"}


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o755), (0o077, 0o700)])
def test_the_umask_decides_who_may_read_it(
    tmp_path: Path, mask: int, mode: int
) -> None:
    before = os.umask(mask)
    try:
        convert_checkpoint(GOLDENS / "fast_vlm-fused", tmp_path / "out")
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == mode
    for file in (tmp_path / "out").iterdir():
        assert file.stat().st_mode & 0o777 == mode & 0o666


def test_an_existing_model_is_kept(model: Path) -> None:
    before = contents(model)
    with pytest.raises(CheckpointError, match="overwrite"):
        fill(model)
    assert contents(model) == before
    assert os.listdir(model.parent) == ["model"]


def test_an_existing_model_is_replaced_when_asked(model: Path) -> None:
    fill(model, overwrite=True)
    assert contents(model) == {"config.json": b"new"}
    assert os.listdir(model.parent) == ["model"]


def test_a_target_may_be_written_in_a_roundabout_way(model: Path) -> None:
    fill(model / ".." / "model", overwrite=True)
    assert contents(model) == {"config.json": b"new"}
    assert os.listdir(model.parent) == ["model"]


def test_a_link_stays_a_link(model: Path) -> None:
    (model.parent / "link").symlink_to(model)
    fill(model.parent / "link", overwrite=True)
    assert (model.parent / "link").is_symlink()
    assert contents(model) == {"config.json": b"new"}
    assert sorted(os.listdir(model.parent)) == ["link", "model"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_model_is_kept(model: Path, overwrite: bool) -> None:
    (model / "config.json").unlink()
    with pytest.raises(CheckpointError):
        fill(model, overwrite)
    assert contents(model) == {"NOTICE": b"kept"}


def test_a_model_of_somebody_else_is_kept(model: Path) -> None:
    (model / "config.json").write_text('{"model_type": "llava_qwen2"}')
    with pytest.raises(CheckpointError, match="another config.json"):
        fill(model, overwrite=True)


def test_a_model_with_a_file_of_the_user_is_kept(model: Path) -> None:
    (model / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="thesis.txt"):
        fill(model, overwrite=True)
    assert (model / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    "name", ["model-finetuned.safetensors", "model.lora.safetensors", "LICENSE-notes"]
)
def test_names_that_only_resemble_ours_are_kept(model: Path, name: str) -> None:
    (model / name).write_bytes(b"weeks of training")
    with pytest.raises(CheckpointError, match=name):
        fill(model, overwrite=True)
    assert (model / name).read_bytes() == b"weeks of training"


@pytest.mark.parametrize("damaged", [False, True])
def test_weights_of_somebody_else_are_kept(model: Path, damaged: bool) -> None:
    """Under the name that ours have, next to a config.json of ours."""
    file = model / "model.safetensors"
    if damaged:
        file.write_bytes(b"no header")
    else:
        mx.save_safetensors(str(file), {"a": mx.zeros(3)}, {"format": "mlx"})
    before = contents(model)
    with pytest.raises(CheckpointError, match="model.safetensors has no mark of it"):
        fill(model, overwrite=True)
    assert contents(model) == before


@pytest.mark.parametrize("to", ["fused", "mlx-vlm"])
def test_a_folder_written_here_may_be_replaced(tmp_path: Path, to: Format) -> None:
    source, target = GOLDENS / "apple-fused", tmp_path / "out"
    for _ in range(2):
        convert_checkpoint(source, target, to=to, overwrite=True)
    assert os.listdir(tmp_path) == ["out"]


def test_what_is_put_into_the_old_folder_meanwhile_stays(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rename_for_real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self == model:
            (model / "thesis.txt").write_text("years of work")
        return rename_for_real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    fill(model, overwrite=True)
    assert contents(model) == {"config.json": b"new"}
    (old,) = temporaries(model, "old")
    assert contents(old) == {"thesis.txt": b"years of work"}
    assert f"{old} holds files that were not written here; they stay" in caplog.text


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_kept(tmp_path: Path, overwrite: bool) -> None:
    target = tmp_path / "out"
    target.write_text("kept")
    with pytest.raises(CheckpointError, match="is a file"):
        fill(target, overwrite)
    assert target.read_text() == "kept"


def test_a_target_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(CheckpointError, match="there already"):
        with whole_folder(target, overwrite=False) as folder:
            (folder / "config.json").write_text("new")
            target.mkdir()
            (target / "config.json").write_text("another process")
    assert contents(target) == {"config.json": b"another process"}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, CheckpointError])
def test_an_exception_leaves_nothing(model: Path, error: type[BaseException]) -> None:
    before = contents(model)
    for target in (model, model.parent / "new"):
        with pytest.raises(error):
            with whole_folder(target, overwrite=True) as folder:
                (folder / "half").write_text("half")
                raise error
    assert contents(model) == before
    assert os.listdir(model.parent) == ["model"]


def test_a_failed_swap_brings_the_old_model_back(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename_for_real = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.suffix == ".fastvlm-part":
            raise OSError("no")
        return rename_for_real(self, target)

    before = contents(model)
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(WriteError, match="cannot be written"):
        fill(model, overwrite=True)
    assert contents(model) == before
    assert os.listdir(model.parent) == ["model"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """Below a file, since root may write everywhere else."""
    (tmp_path / "file").write_text("kept")
    for target in (tmp_path / "file" / "out", tmp_path / "file" / "a" / "out"):
        with pytest.raises(WriteError, match="cannot be written"):
            fill(target)
    assert (tmp_path / "file").read_text() == "kept"


def test_parents_are_removed_when_nothing_comes_of_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "a" / "b" / "out", False):
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_a_file_system_without_locks(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of what another process may be writing is swept there."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    another = temporary_path(model)
    another.mkdir()
    fill(model, overwrite=True)
    assert contents(model) == {"config.json": b"new"}
    assert sorted(os.listdir(model.parent)) == [another.name, "model"]


# --- a kill in the middle ---------------------------------------------------------

KILLS = 50


def test_a_kill_leaves_a_whole_folder(tmp_path: Path) -> None:
    """Converted over and over, so that any moment of it may be the last.

    Forks of one process that has imported everything already: 50 kills in seconds.
    """
    source, target = GOLDENS / "fast_vlm-fused", tmp_path / "out"
    convert_checkpoint(source, target)
    expected = contents(target)
    command = [sys.executable, "-c", KILLED, str(source), str(target), str(KILLS)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            assert line == b"killed\n"
            # between two renames the old folder lies next to its place, whole
            aside = temporaries(target, "old")
            assert contents(target if target.exists() else aside[0]) == expected
            process.send_signal(signal.SIGUSR1)  # the next one
    assert process.returncode == 0
    convert_checkpoint(source, target, overwrite=True)
    assert os.listdir(tmp_path) == ["out"]  # what the killed left has been swept


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from convert import convert_checkpoint

source, target, kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
moments = random.Random(0)
for _ in range(kills):
    child = os.fork()
    if not child:
        while True:
            convert_checkpoint(source, target, overwrite=True)
    time.sleep(moments.uniform(0, 0.25))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("killed", flush=True)
    signal.sigwait([signal.SIGUSR1])
"""


def test_what_a_live_process_writes_is_not_swept(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with whole_folder(target, overwrite=False) as folder:
        (folder / "config.json").write_text("mine")
        with whole_folder(target, overwrite=False) as other:
            (other / "config.json").write_text(json.dumps({STAMP: FORMAT_VERSION}))
        assert folder.is_dir()
        shutil.rmtree(target)
    assert contents(target) == {"config.json": b"mine"}


def test_what_was_left_half_is_swept(tmp_path: Path) -> None:
    temporary_path(tmp_path / "out").mkdir()
    others = [temporary_path(tmp_path / "other"), tmp_path / ".out.abc.partial"]
    for other in others:
        other.mkdir()
    fill(tmp_path / "out")
    assert {*os.listdir(tmp_path)} == {"out", *(other.name for other in others)}


def test_an_old_model_left_aside_comes_back(model: Path) -> None:
    """Killed between the two renames of --overwrite."""
    before = contents(model)
    model.rename(temporary_path(model, "old"))
    with pytest.raises(CheckpointError, match="overwrite"):
        fill(model)
    assert contents(model) == before
    assert os.listdir(model.parent) == ["model"]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from convert import convert_checkpoint
from fastvlm_mlx.errors import WriteError

source, target, limit, *overwrite = sys.argv[1:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write fails instead
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
try:
    convert_checkpoint(Path(source), Path(target), overwrite=bool(overwrite))
except WriteError:
    sys.exit(42)
"""


@pytest.mark.parametrize("limit", [1000, 100_000])
def test_a_full_disk_leaves_nothing(tmp_path: Path, limit: int) -> None:
    """Played by a limit on the size of files."""
    source, target = GOLDENS / "fast_vlm-fused", tmp_path / "out"
    command = [sys.executable, "-c", FULL_DISK, str(source), str(target), str(limit)]
    assert subprocess.run(command, cwd=ROOT).returncode == 42
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_the_old_folder(model: Path) -> None:
    before = contents(model)
    words = [str(GOLDENS / "fast_vlm-fused"), str(model), "1000", "overwrite"]
    command = [sys.executable, "-c", FULL_DISK, *words]
    assert subprocess.run(command, cwd=ROOT).returncode == 42
    assert contents(model) == before
    assert os.listdir(model.parent) == ["model"]


# --- weights ----------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 10_000, 200_000])
def test_shards_load_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    convert_checkpoint(GOLDENS / "apple-fused", tmp_path / "single")
    monkeypatch.setattr(write, "MAX_SHARD_BYTES", limit)
    convert_checkpoint(GOLDENS / "apple-fused", tmp_path / "shards")
    files = sorted((tmp_path / "shards").glob("*.safetensors"))
    assert len(files) > 1
    expected, found = (
        Source(tmp_path / name).tensors() for name in ("single", "shards")
    )
    assert expected.keys() == found.keys()
    assert all(mx.array_equal(expected[name], found[name]) for name in expected)
    load_model(tmp_path / "shards", load_config(tmp_path / "shards"))


def test_shards_keep_to_their_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "MAX_SHARD_BYTES", 100)
    sizes = {"a": 15, "b": 10, "c": 20, "d": 40, "e": 1}  # float32
    weights = {name: mx.zeros(size) for name, size in sizes.items()}
    write_weights(weights, tmp_path, lambda done, total: None)
    index = json.loads((tmp_path / INDEX).read_text())
    numbers = {name: file[6:11] for name, file in index["weight_map"].items()}
    # d alone is larger than a shard may be
    expected = ["00001", "00001", "00002", "00003", "00004"]
    assert list(numbers.values()) == expected
    assert index["metadata"]["total_size"] == 4 * sum(sizes.values())
    assert {file.name for file in tmp_path.glob("*.safetensors")} == set(
        index["weight_map"].values()
    )


def test_one_file_has_no_index(tmp_path: Path) -> None:
    write_weights({"a": mx.zeros(3)}, tmp_path, lambda done, total: None)
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_progress_counts_every_byte(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    weights = {"a": mx.zeros(3), "b": mx.zeros(5)}
    write_weights(weights, tmp_path, lambda done, total: told.append((done, total)))
    assert told == [(12, 32), (32, 32)]


# --- the law ----------------------------------------------------------------------


def test_licences_are_carried_along(tmp_path: Path, source: Path) -> None:
    texts = {"LICENSE": b"first", "LICENSE_MODEL.txt": b"second"}
    for file, text in texts.items():
        (source / file).write_bytes(text)
    (source / "LICENSES").mkdir()  # a folder of that name is not a licence
    convert_checkpoint(source, tmp_path / "out")
    found = contents(tmp_path / "out")
    assert {file: found[file] for file in found if "LICENSE" in file} == texts


@pytest.mark.parametrize("quantized", [False, True])
def test_the_notice_says_what_was_changed(
    tmp_path: Path, source: Path, quantized: bool
) -> None:
    (source / "README.md").write_text("---\nlicense: apple-amlr\n---\n# Model\n")
    recipe = Recipe(4) if quantized else None
    report = convert_checkpoint(
        source,
        tmp_path / "out",
        source_name="some/model",
        recipe=recipe,
        quality_samples=0,
    )
    notice = (tmp_path / "out" / "NOTICE").read_text()
    assert "some/model" in notice
    assert "apple-amlr" in notice
    assert ("quantized" in notice) is quantized
    assert report.config.license == "apple-amlr"


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: apple-amlr\n---\n", "apple-amlr"),
        ("---\nlicense: other\nlicense_name: apple-ascl\n---\n", "apple-ascl"),
        ("---\nlicense_name: apple-ascl\nlicense: other\n---\n", "apple-ascl"),
        ('---\nlicense: "mit"\n---\n', "mit"),
        ("---\nlicense:\n- mit\n---\n", ""),
        ("---\ntags: x\n---\nlicense: not here\n", ""),
        ("license: not here either\n", ""),
        ("", ""),
    ],
)
def test_the_licence_of_a_model_card(
    tmp_path: Path, source: Path, card: str, expected: str
) -> None:
    (source / "README.md").write_text(card)
    report = convert_checkpoint(source, tmp_path / "out")
    assert report.config.license == expected


# --- numbers ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_named(
    tmp_path: Path, dtype: mx.Dtype, value: float
) -> None:
    weights = {"fine": mx.zeros(3), "layer.weight": mx.array([1.0, value], dtype)}
    with pytest.raises(CheckpointError, match=r"layer\.weight holds values"):
        write_weights(weights, tmp_path, lambda done, total: None)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_the_largest_numbers_are_numbers(tmp_path: Path, dtype: mx.Dtype) -> None:
    largest = mx.finfo(dtype).max
    weights = {"a": mx.array([largest, -largest, 0.0], dtype), "b": mx.zeros((0,))}
    write_weights(weights, tmp_path, lambda done, total: None)
