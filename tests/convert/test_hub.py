"""From the hub and to it: in what order, how much, how it is checked. No network."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from convert.hub import upload
from fastvlm_mlx.errors import HubError
from fastvlm_mlx.model_folder import load_config
from tests.convert.folders import INDEX, copy_golden, edit_json
from tests.convert.hub import COMMIT, Hub, serve

ROOT = Path(__file__).parents[2]

Fetch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A repository in two shards, with things in it that nobody needs."""
    folder = copy_golden("apple-fused", tmp_path / "hub")
    for file in ("llava_qwen.py", "pytorch_model.bin", "trainer_state.json", "a.png"):
        (folder / file).write_text("not needed")
    (folder / "other.safetensors").write_bytes(b"not needed")
    (folder / "LICENSE").write_text("the licence")
    (folder / "README.md").write_text("---\nlicense: apple-amlr\n---\n")
    with serve(Hub(folder)) as hub:
        yield hub


@pytest.fixture
def fetch(hub: Hub, tmp_path: Path) -> Fetch:
    """Runs `convert` with the hub's library pointed at the hub of this test."""

    def run(
        *options: str, before: Callable[[], None] | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        words = ["-m", "fastvlm_mlx", "convert", hub.repo, str(tmp_path / "out")]
        settings = {
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path / "cache"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "5",
        }
        return subprocess.run(
            [sys.executable, *words, *options],
            env={**os.environ, **settings, **environment},
            cwd=ROOT,
            capture_output=True,
            text=True,
            preexec_fn=before,
        )

    return run


def test_config_first_and_no_more_than_needed(
    hub: Hub, fetch: Fetch, tmp_path: Path
) -> None:
    done = fetch()
    assert done.returncode == 0, done.stderr
    assert hub.fetched[0] == "config.json"
    weights = [file for file in hub.fetched if file.endswith(".safetensors")]
    assert hub.fetched[-2:] == weights or set(hub.fetched[-2:]) == set(weights)
    unneeded = {"llava_qwen.py", "pytorch_model.bin", "trainer_state.json", "a.png"}
    assert not unneeded & set(hub.fetched)
    assert "other.safetensors" not in hub.fetched
    assert (tmp_path / "out" / "LICENSE").read_text() == "the licence"
    config = load_config(tmp_path / "out")
    assert (config.source, config.license) == (hub.repo, "apple-amlr")


def test_nothing_is_fetched_twice(hub: Hub, fetch: Fetch) -> None:
    assert fetch("--dry-run").returncode == 0
    hub.asked.clear()
    assert fetch("--dry-run").returncode == 0
    assert hub.asked == []


def test_a_config_of_another_kind_stops_before_the_weights(
    hub: Hub, fetch: Fetch
) -> None:
    edit_json(hub.folder / "config.json", model_type="clip")
    done = fetch()
    assert done.returncode == 2
    assert "model_type 'clip'" in done.stderr
    assert hub.fetched == ["config.json"]


def test_a_break_is_survived(hub: Hub, fetch: Fetch) -> None:
    """By the library itself, or by another run; what came before is kept."""
    shard = "model-00001-of-00002.safetensors"
    hub.cut[shard] = (hub.folder / shard).stat().st_size // 2
    done = fetch()
    if done.returncode:
        assert done.returncode == 1
        assert fetch().returncode == 0
    assert not hub.cut
    assert [file for file, _ in hub.asked].count(shard) == 2
    assert [file for file, _ in hub.asked].count("config.json") == 1


@pytest.mark.parametrize("same_size", [True, False])
def test_what_came_damaged_is_named_and_fetched_anew(
    hub: Hub, fetch: Fetch, tmp_path: Path, same_size: bool
) -> None:
    shard = "model-00002-of-00002.safetensors"
    true = (hub.folder / shard).read_bytes()
    hub.wrong[shard] = true[:-8] + bytes(8) if same_size else true[:-8]
    done = fetch()
    assert done.returncode == 1, done.stderr
    assert not (tmp_path / "out").exists()
    if same_size:
        assert f"{shard} came damaged (SHA-256" in done.stderr
    hub.wrong.clear()
    assert fetch().returncode == 0


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("model-00001-of-00002.safetensors", "lacks model-00001"),
        (INDEX, "has no safetensors"),
    ],
)
def test_a_repository_that_is_not_whole(
    hub: Hub, fetch: Fetch, lost: str, message: str
) -> None:
    (hub.folder / lost).unlink()
    done = fetch()
    assert done.returncode == 2
    assert message in done.stderr
    assert not [file for file in hub.fetched if file.endswith(".safetensors")]


def test_an_index_that_leads_elsewhere_fetches_nothing(hub: Hub, fetch: Fetch) -> None:
    (hub.folder / INDEX).write_text('{"weight_map": {"a": "../../secret.safetensors"}}')
    done = fetch()
    assert done.returncode == 2
    assert "next to it" in done.stderr
    assert not [file for file in hub.fetched if "safetensors" in file and file != INDEX]


@pytest.mark.parametrize("switch", ["option", "environment", "no answer"])
def test_offline_what_was_fetched_serves(
    hub: Hub, fetch: Fetch, tmp_path: Path, switch: str
) -> None:
    assert fetch("--dry-run").returncode == 0
    hub.asked.clear()
    hub.gone = True
    options = ["--offline"] if switch == "option" else []
    environment = {"HF_HUB_OFFLINE": "1"} if switch == "environment" else {}
    done = fetch(*options, **environment)
    assert done.returncode == 0, done.stderr
    assert hub.asked == []
    assert load_config(tmp_path / "out").source == hub.repo


def test_offline_what_was_not_fetched_is_an_error(fetch: Fetch) -> None:
    done = fetch("--offline")
    assert done.returncode == 1
    assert "is not on this disk" in done.stderr


SHARD = "model-00002-of-00002.safetensors"


@pytest.mark.parametrize(("status", "cached"), [(401, True), (403, False)])
def test_weights_that_are_refused_are_no_lost_connection(
    hub: Hub, fetch: Fetch, status: int, cached: bool
) -> None:
    """Not even where an earlier commit would do: it is not what was asked for."""
    if cached:
        assert fetch("--dry-run").returncode == 0
        hub.commit = "f" * 40
        shard = hub.folder / SHARD
        shard.write_bytes(shard.read_bytes()[:-8] + bytes(8))
    hub.refused[SHARD] = status
    done = fetch("--dry-run")
    assert done.returncode == 1
    assert f"HTTP {status}" in done.stderr
    assert "cannot be reached" not in done.stderr
    assert "hf auth login" in done.stderr


@pytest.mark.parametrize("cached", [False, True])
def test_a_full_disk_is_no_lost_connection(
    hub: Hub, fetch: Fetch, cached: bool
) -> None:
    if cached:
        assert fetch("--dry-run").returncode == 0
        hub.commit = "f" * 40
        shard = hub.folder / SHARD
        shard.write_bytes(shard.read_bytes()[:-8] + bytes(8))
    limits = (200_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    done = fetch(
        "--dry-run",
        before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
    )
    assert done.returncode == 1
    assert "could not be stored: File too large" in done.stderr
    assert "cannot be reached" not in done.stderr


def test_an_update_that_breaks_off_leaves_the_last_whole_commit(
    hub: Hub, fetch: Fetch, tmp_path: Path
) -> None:
    assert fetch("--dry-run").returncode == 0
    hub.commit = "f" * 40
    shard = hub.folder / SHARD
    shard.write_bytes(shard.read_bytes()[:-8] + bytes(8))
    hub.refused[SHARD] = 503
    done = fetch()
    assert done.returncode == 0, done.stderr
    assert "using someone/model as it was cached" in done.stderr
    assert load_config(tmp_path / "out").source == hub.repo
    assert fetch("--offline", "--overwrite").returncode == 0


@pytest.mark.parametrize("switch", ["--offline", "HF_HUB_OFFLINE", "no answer"])
def test_a_download_that_broke_off_is_said_to_be_incomplete(
    hub: Hub, fetch: Fetch, switch: str
) -> None:
    hub.refused[SHARD] = 503
    assert fetch().returncode == 1
    if switch == "no answer":
        hub.gone = True
        done = fetch()
        assert "could not be fetched" in done.stderr
    elif switch == "--offline":
        done = fetch("--offline")
    else:
        done = fetch(HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    assert ("only in part" in done.stderr) == (switch != "no answer")
    assert "has no model.safetensors" not in done.stderr


def test_a_hub_that_fails(hub: Hub, fetch: Fetch) -> None:
    hub.gone = True
    done = fetch()
    assert done.returncode == 1
    assert f"{hub.repo} could not be fetched" in done.stderr
    assert "give the path of a downloaded folder" in done.stderr


def test_a_commit_is_kept_to(fetch: Fetch, tmp_path: Path) -> None:
    """Files of one commit only, though the branch may move meanwhile."""
    assert fetch("--dry-run").returncode == 0
    found = list((tmp_path / "cache").rglob("snapshots/*"))
    assert [each.name for each in found] == [COMMIT]


# --- to the hub -------------------------------------------------------------------


class Api:
    """Stands in for the hub's client."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.error: Exception | None = None

    def create_repo(self, repo_id: str, **options: Any) -> None:
        self.asked.append(("create_repo", {"repo_id": repo_id, **options}))

    def upload_folder(self, **options: Any) -> SimpleNamespace:
        if self.error:
            raise self.error
        self.asked.append(("upload_folder", options))
        return SimpleNamespace(commit_url="https://hub/me/mine/commit/1")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    made = Api()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made)
    return made


def test_a_folder_goes_whole_and_private(api: Api, tmp_path: Path) -> None:
    assert upload(tmp_path, "me/mine") == "https://hub/me/mine/commit/1"
    (made, options), (sent, what) = api.asked
    assert (made, options["private"], options["exist_ok"]) == (
        "create_repo",
        True,
        True,
    )
    assert (sent, what["repo_id"]) == ("upload_folder", "me/mine")
    assert what["folder_path"] == tmp_path


def test_a_failure_says_that_the_folder_is_whole(api: Api, tmp_path: Path) -> None:
    api.error = ConnectionError("401\nno token")
    with pytest.raises(HubError, match="It is whole on this disk") as error:
        upload(tmp_path, "me/mine")
    assert "ConnectionError: 401)" in str(error.value)
