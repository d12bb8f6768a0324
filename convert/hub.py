"""Models from the Hugging Face hub and to it, by way of its library.

What is downloaded is checked, and no more of it than is read:
config.json comes first and is judged before any weights are fetched. Then the small
files and the index, which tells the shards. What was fetched now is compared with the
sizes and hashes that the hub states. Broken downloads are resumed by the library.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from fastvlm_mlx.config import FastVLMConfig
from fastvlm_mlx.errors import CheckpointError, FastVLMError, HubError
from fastvlm_mlx.model_folder import CONFIG_FILE, INDEX_FILE, WEIGHTS_FILE

from .architecture import read_text_config
from .source import OPEN_CLIP_FILE, Source

_SMALL = (
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "chat_template.*",
    INDEX_FILE,
    "LICENSE*",
    "NOTICE",
    "README.md",
)
"""What a conversion reads beside config.json and the weights."""

_log = logging.getLogger("fastvlm_mlx")


@dataclass(frozen=True)
class _Listing:
    """What the hub says of one commit."""

    commit: str
    sizes: Mapping[str, int | None]  # bytes, by file
    hashes: Mapping[str, str]  # SHA-256 in hex, of the large files


def download(
    repo_id: str,
    revision: str | None = None,
    *,
    offline: bool = False,
    only_tower: bool = False,
) -> Path:
    """Bring the files of a model from the hub, or find them cached.

    Args:
        repo_id: "owner/model".
        revision: branch, tag or commit; the commit found first is kept to.
        offline: use what is cached and ask nobody; also by HF_HUB_OFFLINE=1.
        only_tower: an image encoder alone will do, whatever its config.json says.

    Raises:
        HubError: it could not be fetched, or came damaged.
        ConfigError, CheckpointError: it is no FastVLM; then no weights were fetched.
    """
    from huggingface_hub import constants  # the package takes 0.2 s to import

    if offline or constants.HF_HUB_OFFLINE:
        return _cached(repo_id, revision)
    _log.info("Fetching %s from the Hugging Face hub.", repo_id)
    try:
        return _fetch_all(repo_id, revision, only_tower)
    except FastVLMError:
        raise
    except Exception as error:  # the hub client's errors share no base class
        return _cached_instead(repo_id, revision, error)


def upload(folder: Path, repo_id: str) -> str:
    """Put a folder into a repository, made private where there is none.

    Private, because the licence of the original may forbid passing weights on.

    Returns:
        The address of the commit.

    Raises:
        HubError: no token, no permission, no network.
    """
    from huggingface_hub import HfApi  # takes 0.2 s to import

    api = HfApi()
    try:
        api.create_repo(repo_id, private=True, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message="Weights converted by fastvlm-mlx",
        )
    except Exception as error:  # the hub client's errors share no base class
        reason = str(error).strip().split("\n")[0]
        raise HubError(
            f"{folder} could not be uploaded to {repo_id} ({type(error).__name__}: "
            f"{reason}). It is whole on this disk; log in with `hf auth login` and "
            "upload it again."
        ) from None
    return str(commit.commit_url)


def _fetch_all(repo_id: str, revision: str | None, only_tower: bool) -> Path:
    listing = _list(repo_id, revision)
    # by the name of the branch, so that the cache knows it when offline
    folder = _fetch(repo_id, listing, [CONFIG_FILE], revision)
    if not only_tower:
        _check_config(folder)
    small = [name for name in listing.sizes if _is_small(name)]
    folder = _fetch(repo_id, listing, small)
    return _fetch(repo_id, listing, _weights(repo_id, listing, folder))


def _list(repo_id: str, revision: str | None) -> _Listing:
    from huggingface_hub import HfApi

    info = HfApi().model_info(repo_id, revision=revision, files_metadata=True)
    files = info.siblings or []
    return _Listing(
        commit=str(info.sha),
        sizes={file.rfilename: file.size for file in files},
        hashes={file.rfilename: file.lfs.sha256 for file in files if file.lfs},
    )


def _fetch(
    repo_id: str, listing: _Listing, names: Iterable[str], revision: str | None = ""
) -> Path:
    """Fetch those files of one commit that it has, and check what is new here."""
    from huggingface_hub import snapshot_download, try_to_load_from_cache

    names = [name for name in names if name in listing.sizes]
    fresh = [
        name
        for name in names
        if not isinstance(
            try_to_load_from_cache(repo_id, name, revision=listing.commit), str
        )
    ]
    folder = Path(
        snapshot_download(
            repo_id,
            revision=listing.commit if revision == "" else revision,
            allow_patterns=names or ["no file"],
        )
    )
    for name in fresh:
        _check_file(folder / name, listing.sizes[name], listing.hashes.get(name))
    return folder


def _check_file(file: Path, size: int | None, sha256: str | None) -> None:
    """A file that is not what the hub said is removed, so that it is fetched anew."""
    found = file.stat().st_size
    if size is not None and found != size:
        fault = f"{found} bytes instead of {size}"
    elif sha256 is not None and (digest := _sha256(file)) != sha256:
        fault = f"SHA-256 {digest} instead of {sha256}"
    else:
        return
    os.unlink(file.resolve())  # the cache links to it by name
    raise HubError(f"{file.name} came damaged ({fault}). Try again.")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_config(folder: Path) -> None:
    source = Source(folder)
    if source.is_converted:
        FastVLMConfig.from_dict(source.config)
    else:
        read_text_config(source)


def _is_small(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in _SMALL)


def _weights(repo_id: str, listing: _Listing, folder: Path) -> list[str]:
    """The safetensors that the index names, or the one file; no pickle, ever."""
    if INDEX_FILE in listing.sizes:
        wanted = Source(folder).shard_names()
    else:
        wanted = [
            name for name in (WEIGHTS_FILE, OPEN_CLIP_FILE) if name in listing.sizes
        ][:1]
    lost = [name for name in wanted if name not in listing.sizes]
    if lost:
        raise CheckpointError(f"{repo_id} lacks {lost[0]}, which {INDEX_FILE} names.")
    if not wanted:
        raise CheckpointError(
            f"{repo_id} has no safetensors; other weights, pickles above all, are not "
            "fetched. Look for a repository that has them, or save them so."
        )
    return wanted


def _cached(repo_id: str, revision: str | None) -> Path:
    from huggingface_hub import try_to_load_from_cache

    for name in (CONFIG_FILE, WEIGHTS_FILE, OPEN_CLIP_FILE):
        file = try_to_load_from_cache(repo_id, name, revision=revision)
        if isinstance(file, str):
            return Path(file).parent
    raise HubError(
        f"{repo_id} is not on this disk, and the hub is not asked when offline. "
        "Leave --offline and HF_HUB_OFFLINE out once, to fetch it."
    )


def _cached_instead(repo_id: str, revision: str | None, error: Exception) -> Path:
    """Without a network, what was fetched earlier serves."""
    reason = str(error).strip().split("\n")[0]
    try:
        folder = _cached(repo_id, revision)
    except HubError:
        raise HubError(
            f"{repo_id} could not be fetched ({type(error).__name__}: {reason}). Check "
            "the name and the network, or give the path of a downloaded folder."
        ) from None
    _log.warning("The hub cannot be reached; using %s as it was cached.", repo_id)
    return folder
