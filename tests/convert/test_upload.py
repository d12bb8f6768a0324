"""To the hub: what its library is asked to do, and what is said when it cannot."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from convert.upload import upload
from fastvlm_mlx.errors import HubError


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
