"""A folder of encoded images that other people and processes use too."""

import errno
import fcntl
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fastvlm_mlx import atomic_file
from fastvlm_mlx.caches.feature_folder import FeatureFolder
from fastvlm_mlx.device import array_file
from fastvlm_mlx.device.backend import mx

HEX = "0123456789abcdef" * 4
TEMPORARY = f".{HEX}.safetensors.{HEX[:16]}.fastvlm-part"


def embeds(value: float = 1) -> mx.array:
    return mx.full((2, 4), value)


def folder(path: Path, max_bytes: int = 1) -> FeatureFolder:
    """By default one that has room for nothing, and so removes all it may."""
    return FeatureFolder(path, lambda: "this model", max_bytes)


def age(path: Path) -> None:
    os.utime(path, (1, 1))


def as_tensors(path: Path, metadata: dict[str, str] | None = None) -> None:
    with open(path, "wb") as file:  # by a path, MLX would change the name
        mx.save_safetensors(file, {"image_embeds": embeds()}, metadata or {})


FOREIGN: dict[str, Callable[[Path], object]] = {
    "model.safetensors": as_tensors,
    "model-00001-of-00002.safetensors": as_tensors,
    f"{HEX}.safetensors": as_tensors,  # our name, not our mark
    f"{HEX[::-1]}.safetensors": lambda path: as_tensors(
        path, {"image": "a", "model": "b", "sha256": HEX}
    ),
    f"{HEX[1:]}a.safetensors": lambda path: path.write_bytes(b""),
    f"{HEX[2:]}ab.safetensors": lambda path: path.write_bytes(b"\xff" * 5000),
    f"{HEX[3:]}abc.safetensors": lambda path: path.mkdir(),
    f"{HEX.upper()}.safetensors": as_tensors,
    f"{HEX}.safetensors.bak": as_tensors,
    f"copy {HEX}.safetensors": as_tensors,
    HEX: as_tensors,
    ".hidden.safetensors": as_tensors,
    f".{HEX}.safetensors": as_tensors,
    f".{HEX}.safetensors.abc123.safetensors": as_tensors,
    ".model.safetensors.0123456789abcdef.fastvlm-part": as_tensors,
    "notes.txt": lambda path: path.write_text("mine"),
}


def test_what_others_keep_there_stays(tmp_path: Path) -> None:
    for name, make in FOREIGN.items():
        make(tmp_path / name)
        age(tmp_path / name)
    folder(tmp_path).write("a", embeds())
    assert sorted(os.listdir(tmp_path)) == sorted(FOREIGN)


def test_a_large_model_does_not_push_ours_out(tmp_path: Path) -> None:
    with open(tmp_path / "model.safetensors", "wb") as file:
        file.truncate(1 << 30)
    shared = folder(tmp_path, max_bytes=10_000)
    shared.write("a", embeds())
    assert shared.read("a") is not None


def test_a_file_with_name_and_mark_goes(tmp_path: Path) -> None:
    folder(tmp_path, max_bytes=10_000).write("a", embeds())
    (ours,) = tmp_path.iterdir()
    folder(tmp_path).write("b", embeds())
    assert not ours.exists()


def test_a_copy_of_ours_under_another_name_stays(tmp_path: Path) -> None:
    folder(tmp_path, max_bytes=10_000).write("a", embeds())
    (ours,) = tmp_path.iterdir()
    kept = tmp_path / "kept.safetensors"
    kept.write_bytes(ours.read_bytes())
    folder(tmp_path).write("b", embeds())
    assert list(tmp_path.iterdir()) == [kept]


def test_a_link_to_ours_stays_and_is_not_followed(tmp_path: Path) -> None:
    folder(tmp_path / "elsewhere", max_bytes=10_000).write("a", embeds())
    (target,) = (tmp_path / "elsewhere").iterdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / target.name).symlink_to(target)
    folder(tmp_path / "here").write("b", embeds())
    assert target.exists() and len(os.listdir(tmp_path / "here")) == 1


@pytest.mark.parametrize(("old", "held", "stays"), [(0, 0, 1), (1, 1, 1), (1, 0, 0)])
def test_a_temporary_file_goes_when_old_and_abandoned(
    tmp_path: Path, old: bool, held: bool, stays: bool
) -> None:
    temporary = tmp_path / TEMPORARY
    with open(temporary, "wb") as file:
        if held:
            fcntl.flock(file, fcntl.LOCK_EX)
        if old:
            age(temporary)
        folder(tmp_path).write("a", embeds())
        assert temporary.exists() == stays


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_the_umask_decides_who_may_read(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        folder(tmp_path, max_bytes=10_000).write("a", embeds())
    finally:
        os.umask(before)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == mode


def refuse(code: int) -> Callable[..., None]:
    def raises(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return raises


def test_a_folder_that_may_only_be_read_serves_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shared = folder(tmp_path, max_bytes=10_000)
    shared.write("a", embeds())
    monkeypatch.setattr(os, "utime", refuse(errno.EROFS))
    monkeypatch.setattr(atomic_file, "_create", refuse(errno.EROFS))
    assert shared.read("a") is not None
    for image in "bcd":
        shared.write(image, embeds())
    assert caplog.text.count("Read-only file system") == 1


def test_a_full_disk_is_said_once_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(array_file, "save_arrays", refuse(errno.ENOSPC))
    for image in "ab":
        folder_of_one = folder(tmp_path)
        folder_of_one.write(image, embeds())
        folder_of_one.write(image, embeds())
    assert caplog.text.count("No space left on device") == 2  # once for each cache
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_locks_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse(errno.ENOTSUP))
    shared = folder(tmp_path, max_bytes=10_000)
    (tmp_path / TEMPORARY).write_bytes(b"of a process that may still be writing")
    age(tmp_path / TEMPORARY)
    shared.write("a", embeds())
    assert shared.read("a") is not None
    assert (tmp_path / TEMPORARY).exists() and not caplog.text


def test_a_file_that_vanishes_while_counting_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shared = folder(tmp_path, max_bytes=10_000)
    shared.write("a", embeds())
    real = os.scandir

    def vanishing(path: Path) -> object:
        entries = list(real(path))
        for entry in entries:
            os.unlink(entry.path)
        return iter(entries)

    monkeypatch.setattr(os, "scandir", vanishing)
    shared.write("b", embeds())
    assert not caplog.text


def _fill(path: Path, first: int) -> None:
    shared = folder(path, max_bytes=3000)
    for number in range(first, first + 40):
        shared.write(str(number % 12), embeds(number % 12))
        found = shared.read(str(number % 12))
        assert found is None or mx.array_equal(found, embeds(number % 12))


def test_two_processes_share_a_folder(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    (tmp_path / "model.safetensors").write_bytes(b"mine")
    workers = [spawn.Process(target=_fill, args=(tmp_path, n)) for n in (0, 5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    left = [file for file in tmp_path.iterdir() if file.name != "model.safetensors"]
    assert sum(file.stat().st_size for file in left) <= 3000
    assert all(len(file.name) == 64 + len(".safetensors") for file in left)
    assert (tmp_path / "model.safetensors").read_bytes() == b"mine"


def test_an_old_temporary_file_is_old_by_the_clock(tmp_path: Path) -> None:
    temporary = tmp_path / TEMPORARY
    temporary.touch()
    os.utime(temporary, (time.time() - 3500,) * 2)
    folder(tmp_path).write("a", embeds())
    assert temporary.exists()
