"""Encoded pictures: found again, bounded, and never another one's."""

import logging
import threading
from pathlib import Path

import pytest

from fastvlm_mlx.caches.feature_folder import FeatureFolder
from fastvlm_mlx.caches.features import FeatureCache
from fastvlm_mlx.device.backend import mx

BYTES = 4 * 8  # of one of these


def embeds(value: float) -> mx.array:
    return mx.full((2, 4), value)


def holds(found: mx.array | None, value: float) -> bool:
    return found is not None and bool(mx.array_equal(found, embeds(value)))


def test_a_picture_is_found_by_its_digest_only() -> None:
    cache = FeatureCache(10 * BYTES)
    cache.put("a", embeds(1))
    assert holds(cache.get("a"), 1)
    assert cache.get("b") is None
    assert (cache.hits, cache.misses, cache.nbytes) == (1, 1, BYTES)


def test_the_one_used_longest_ago_goes_first() -> None:
    cache = FeatureCache(2 * BYTES)
    cache.put("a", embeds(1))
    cache.put("b", embeds(2))
    cache.get("a")
    cache.put("c", embeds(3))
    assert cache.get("b") is None
    assert holds(cache.get("a"), 1) and holds(cache.get("c"), 3)
    assert cache.nbytes == 2 * BYTES


@pytest.mark.parametrize("max_bytes", [0, BYTES - 1])
def test_what_does_not_fit_is_not_kept(max_bytes: int) -> None:
    cache = FeatureCache(max_bytes)
    cache.put("a", embeds(1))
    assert (len(cache), cache.nbytes, cache.get("a")) == (0, 0, None)


def test_clear_forgets() -> None:
    cache = FeatureCache(BYTES)
    cache.put("a", embeds(1))
    cache.clear()
    assert cache.get("a") is None


def test_threads_leave_it_within_bounds() -> None:
    cache = FeatureCache(3 * BYTES)

    def work(number: int) -> None:
        for step in range(200):
            name = str((number + step) % 7)
            cache.put(name, embeds(float(name)))
            found = cache.get(name)
            assert found is None or holds(found, float(name))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.nbytes <= 3 * BYTES


# --- the folder behind it ---------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> FeatureFolder:
    return FeatureFolder(tmp_path / "made" / "when needed", lambda: "this model")


def files(folder: FeatureFolder) -> list[Path]:
    return sorted(folder._path.glob("*"))


def test_a_folder_outlives_the_cache(folder: FeatureFolder) -> None:
    FeatureCache(BYTES, folder).put("a", embeds(1))
    cache = FeatureCache(BYTES, folder)
    assert holds(cache.get("a"), 1)
    assert (cache.hits, cache.misses, cache.nbytes) == (1, 0, BYTES)
    assert cache.get("b") is None


def test_another_model_finds_nothing(folder: FeatureFolder) -> None:
    folder.write("a", embeds(1))
    assert FeatureFolder(folder._path, lambda: "other model").read("a") is None


def test_a_file_under_anothers_name_is_not_believed(
    folder: FeatureFolder, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write("a", embeds(1))
    (of_a,) = files(folder)
    folder.write("b", embeds(2))
    (of_b,) = set(files(folder)) - {of_a}
    of_b.write_bytes(of_a.read_bytes())
    assert folder.read("b") is None
    assert "belongs to another image or model" in caplog.text


def test_a_damaged_file_is_ignored_said_and_written_anew(
    folder: FeatureFolder, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write("a", embeds(1))
    (file,) = files(folder)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with caplog.at_level(logging.WARNING):
        assert folder.read("a") is None
    assert f"{file} is ignored: its contents" in caplog.text
    folder.write("a", embeds(1))
    assert holds(folder.read("a"), 1)


def test_a_disk_that_refuses_is_only_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    folder = FeatureFolder(tmp_path / "file", lambda: "this model")
    folder.write("a", embeds(1))
    folder.write("b", embeds(1))
    assert caplog.text.count("Images are not kept in") == 1
    assert folder.read("a") is None


def test_a_folder_is_bounded_too(tmp_path: Path) -> None:
    folder = FeatureFolder(tmp_path, lambda: "this model", max_bytes=1)
    folder.write("a", embeds(1))
    size = 0 if not files(folder) else files(folder)[0].stat().st_size
    assert size == 0
    folder = FeatureFolder(tmp_path, lambda: "this model", max_bytes=2000)
    for name in "abcdefghij":
        folder.write(name, embeds(1))
    assert sum(file.stat().st_size for file in files(folder)) <= 2000
    assert holds(folder.read("j"), 1)
    assert folder.read("a") is None
