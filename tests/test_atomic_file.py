"""Files that are there whole or as they were, and are read only if whole."""

import errno
import fcntl
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvlm_mlx import atomic_file
from fastvlm_mlx.atomic_file import (
    Lock,
    is_abandoned,
    is_temporary,
    lock,
    replacing,
    temporaries,
    temporary_path,
    write_text,
)
from fastvlm_mlx.device import array_file
from fastvlm_mlx.device.array_file import (
    DamagedFileError,
    content_digest,
    read_arrays,
    write_arrays,
)
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import WriteError

ARRAYS = {
    "a": mx.arange(6).reshape(2, 3),
    "b": mx.array([1.5, -2.0], dtype=mx.bfloat16),
    "pixels": mx.zeros((2, 2, 3), dtype=mx.uint8),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.safetensors"
    write_arrays(path, ARRAYS, {"made": "here"})
    return path


def test_what_is_written_is_read(file: Path) -> None:
    arrays, metadata = read_arrays(file)
    assert metadata == {"made": "here"}
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert mx.array_equal(arrays[name], array)


def test_nothing_else_is_left_in_the_folder(file: Path) -> None:
    write_arrays(file, ARRAYS, {})
    assert list(file.parent.iterdir()) == [file]


def test_a_missing_file_is_no_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        write_arrays(tmp_path / "none" / "file", ARRAYS, {})


@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_no_byte_may_differ(
    tmp_path_factory: pytest.TempPathFactory, place: float, flip: int
) -> None:
    """Padding in the header is the one thing that says nothing."""
    path = tmp_path_factory.mktemp("flip") / "file.safetensors"
    write_arrays(path, ARRAYS, {"made": "here"})
    data = bytearray(path.read_bytes())
    index = int(place * len(data))
    data[index] ^= flip
    path.write_bytes(bytes(data))
    try:
        arrays, metadata = read_arrays(path)
    except DamagedFileError:
        return
    assert metadata == {"made": "here"}
    assert content_digest(arrays, metadata) == content_digest(ARRAYS, metadata)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_file_cut_off_is_damaged(file: Path, share: float) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DamagedFileError):
        read_arrays(file)


def test_another_kind_of_file_is_damaged(file: Path) -> None:
    mx.save_safetensors(str(file), ARRAYS)
    with pytest.raises(DamagedFileError, match="do not have the digest"):
        read_arrays(file)


@pytest.mark.parametrize(
    "other",
    [
        {"a": mx.array([1, 2])},
        {"b": mx.array([1, 2, 3])},
        {"a": mx.array([1, 2, 4])},
        {"a": mx.array([1.0, 2, 3])},
        {"a": mx.array([[1, 2, 3]])},
    ],
)
def test_a_digest_tells_arrays_apart(other: dict[str, mx.array]) -> None:
    one = {"a": mx.array([1, 2, 3])}
    assert content_digest(one) != content_digest(other)
    assert content_digest(one) != content_digest(one, {"made": "here"})


def test_a_digest_sees_through_strides() -> None:
    array = mx.arange(12).reshape(3, 4)
    assert content_digest({"a": array.T}) == content_digest(
        {"a": mx.contiguous(array.T)}
    )


# --- what takes the place of a file ----------------------------------------------


@pytest.fixture
def umask() -> Iterator[Callable[[int], None]]:
    """Sets the umask until the test ends."""
    before = os.umask(0o022)
    yield lambda mask: (os.umask(mask), None)[1]
    os.umask(before)


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may grow over 1000 bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_text_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")
    write_text(path, "neu \ud83d")  # half a character
    assert path.read_bytes() == b"neu \\ud83d"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"no/a.json cannot be written: No such file"):
        write_text(tmp_path / "no" / "a.json", "")


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("small_disk")
@pytest.mark.parametrize("there", [True, False])
def test_a_full_disk_leaves_nothing(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "a"
    if there:
        path.write_text("old")
    with pytest.raises(WriteError, match="a cannot be written: File too large"):
        write_text(path, "x" * 10_000)
    with pytest.raises(OSError, match="File too large") as caught:
        write_arrays(path, {"x": mx.zeros(10_000)}, {})
    assert caught.value.errno == errno.EFBIG
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"] * there


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_the_umask_decides_who_may_read(
    tmp_path: Path, umask: Callable[[int], None], mask: int, mode: int
) -> None:
    umask(mask)
    write_text(tmp_path / "text", "")
    write_arrays(tmp_path / "arrays", ARRAYS, {})
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == mode


def test_a_private_file_stays_private(tmp_path: Path) -> None:
    path = tmp_path / "talk"
    write_text(path, "old")
    path.chmod(0o600)
    write_text(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "file")
    for text in ("new", "newer"):
        write_text(tmp_path / "link", text)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "folder" / "file").read_text() == text
    assert os.listdir(tmp_path / "folder") == ["file"]


def test_a_pipe_or_a_folder_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(WriteError, match="not a plain file"):
            write_text(tmp_path / name, "")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"]


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127, os.fsdecode(b"\xff\xfe")])
def test_names_of_any_kind(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "text")
    assert os.listdir(tmp_path) == [name]


# --- temporary names --------------------------------------------------------------


def test_temporary_names_are_known_exactly(tmp_path: Path) -> None:
    path = tmp_path / "a.b"
    name = temporary_path(path).name
    assert name != temporary_path(path).name
    assert is_temporary(name)
    for other in (
        name[1:],
        name + "x",
        name.replace("fastvlm-part", "part"),
        ".a.b.fastvlm-part",
        "a.b",
        ".a.b",
    ):
        assert not is_temporary(other)


def test_those_of_one_path_are_told_from_anothers(tmp_path: Path) -> None:
    mine, others = temporary_path(tmp_path / "a"), temporary_path(tmp_path / "a.b")
    for each in (mine, others, tmp_path / "a", tmp_path / ".a.part"):
        each.touch()
    assert temporaries(tmp_path / "a") == [mine]
    assert temporaries(tmp_path / "nowhere" / "a") == []


WRITER = """
import sys, time
from pathlib import Path
from fastvlm_mlx.atomic_file import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("written", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "a"
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        (left,) = temporaries(path)
        assert not is_abandoned(left)
        write_text(path, "mine")  # lets the other one live
        assert left.exists()
        writer.send_signal(signal.SIGKILL)
    assert is_abandoned(left)
    write_text(path, "mine again")
    assert os.listdir(tmp_path) == ["a"]


# --- locks ------------------------------------------------------------------------


def fail_with(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Have every lock fail for that reason."""

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_a_lock_is_held_until_its_file_is_closed(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with open(tmp_path / "a") as one, open(tmp_path / "a") as other:
        assert lock(one.fileno()) is Lock.OURS
        assert lock(other.fileno()) is Lock.HELD
        one.close()
        assert lock(other.fileno()) is Lock.OURS


@pytest.mark.parametrize(
    ("number", "found"),
    [
        (errno.EWOULDBLOCK, Lock.HELD),
        (errno.EAGAIN, Lock.HELD),
        (errno.EACCES, Lock.HELD),
        (errno.ENOTSUP, Lock.UNSUPPORTED),
        (errno.EOPNOTSUPP, Lock.UNSUPPORTED),
        (errno.ENOLCK, Lock.UNSUPPORTED),
        (errno.ENOSYS, Lock.UNSUPPORTED),
    ],
)
def test_held_is_told_from_unsupported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, found: Lock
) -> None:
    (tmp_path / "a").touch()
    fail_with(monkeypatch, number)
    with open(tmp_path / "a") as file:
        assert lock(file.fileno()) is found
    assert not is_abandoned(tmp_path / "a")


def test_another_failure_is_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").touch()
    fail_with(monkeypatch, errno.EIO)
    with open(tmp_path / "a") as file, pytest.raises(OSError, match="Input/output"):
        lock(file.fileno())


def test_without_locks_a_file_is_written_and_nothing_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another process may be writing is left alone."""
    fail_with(monkeypatch, errno.ENOTSUP)
    left = temporary_path(tmp_path / "a")
    left.touch()
    write_text(tmp_path / "a", "text")
    assert sorted(os.listdir(tmp_path)) == [left.name, "a"]


def test_a_file_swept_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_lock, swept = atomic_file.lock, list[Path]()

    def lock_after_a_sweep(file: int) -> Lock:
        if not swept:
            swept.extend(temporaries(tmp_path / "a"))
            swept[0].unlink()
        return true_lock(file)

    monkeypatch.setattr(atomic_file, "lock", lock_after_a_sweep)
    write_text(tmp_path / "a", "text")
    assert len(swept) == 1
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_that_may_not_be_read_is_not_called_damaged(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(array_file, "open", refuse, raising=False)
    with pytest.raises(PermissionError, match="Permission denied"):
        read_arrays(file)
