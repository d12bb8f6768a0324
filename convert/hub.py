"""Models from the Hugging Face hub and to it, by way of its library.

What is downloaded is checked, and no more of it than is read:
config.json comes first and is judged before any weights are fetched. Then the small
files and the index, which tells the shards. What was fetched now is compared with the
sizes and hashes that the hub states. Broken downloads are resumed by the library.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
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
        failure = HubError(_reason(repo_id, error))
        if not _is_unreachable(error):
            raise failure from None
    try:
        folder = _cached(repo_id, revision)
    except HubError:
        raise failure from None
    _log.warning("The hub cannot be reached; using %s as it was cached.", repo_id)
    return folder


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
        raise HubError(
            f"{folder} could not be uploaded to {repo_id} ({type(error).__name__}: "
            f"{_first_line(error)}). It is whole on this disk; log in with "
            "`hf auth login` and upload it again."
        ) from None
    return str(commit.commit_url)


def _fetch_all(repo_id: str, revision: str | None, only_tower: bool) -> Path:
    listing = _list(repo_id, revision)
    folder = _fetch(repo_id, listing, [CONFIG_FILE])
    if not only_tower:
        _check_config(folder)
    small = [name for name in listing.sizes if _is_small(name)]
    folder = _fetch(repo_id, listing, small)
    folder = _fetch(repo_id, listing, _weights(repo_id, listing, folder))
    # by the name of the branch and last: what the cache knows by it is whole
    _fetch(repo_id, listing, [CONFIG_FILE], revision)
    return folder


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
    lost = [name for name in names if not (folder / name).exists()]
    if lost:
        raise HubError(f"{repo_id} came without {lost[0]}. Try again.")
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
    """What was fetched earlier of that branch, tag or commit, if it is whole."""
    from huggingface_hub import try_to_load_from_cache

    missing = None
    for name in (CONFIG_FILE, WEIGHTS_FILE, OPEN_CLIP_FILE):
        file = try_to_load_from_cache(repo_id, name, revision=revision)
        if isinstance(file, str):
            missing = _missing(Path(file).parent)
            if missing is None:
                return Path(file).parent
            break
    if missing or _is_begun(repo_id):
        lost = f" ({missing} is missing)" if missing else ""
        raise HubError(
            f"{repo_id} is on this disk only in part{lost}, and the hub is not asked "
            "when offline. Leave --offline and HF_HUB_OFFLINE out once, to fetch the "
            "rest."
        )
    raise HubError(
        f"{repo_id} is not on this disk, and the hub is not asked when offline. "
        "Leave --offline and HF_HUB_OFFLINE out once, to fetch it."
    )


def _missing(folder: Path) -> str | None:
    """A file that a downloaded commit lacks; weights come last, so they tell."""
    source = Source(folder)
    wanted = source.shard_names()
    if not wanted:
        whole = source.has(WEIGHTS_FILE) or source.has(OPEN_CLIP_FILE)
        return None if whole else WEIGHTS_FILE
    return next((name for name in wanted if not source.has(name)), None)


def _is_begun(repo_id: str) -> bool:
    """Whether anything of a repository was fetched, of whatever commit."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    name = repo_folder_name(repo_id=repo_id, repo_type="model")
    return any((Path(constants.HF_HUB_CACHE) / name).glob("snapshots/*/*"))


_NOT_CONNECTED = frozenset(
    ("TransportError", "ConnectionError", "Timeout", "TimeoutError")
)
"""Bases of what httpx and requests raise, whichever the hub's library is built on."""


def _is_unreachable(error: BaseException) -> bool:
    """Whether a failure, or what it came of, is the network's or the hub's own."""
    return any(
        _status(each) >= 500
        or {base.__name__ for base in type(each).__mro__} & _NOT_CONNECTED
        for each in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from; the library wraps some of its own."""
    while error is not None:
        yield error
        error = error.__cause__


def _status(error: BaseException) -> int:
    """The HTTP status that an error stands for; 0 for none."""
    status = getattr(getattr(error, "response", None), "status_code", 0)
    return status if isinstance(status, int) else 0


def _reason(repo_id: str, error: Exception) -> str:
    """What to say of a failed download: the cause, and what helps against it."""
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return (
            f"{repo_id} could not be stored: {error.strerror}. Make room, or move the "
            "hub's cache with HF_HOME; the same command goes on."
        )
    for cause in _causes(error):
        if _status(cause) in (401, 403, 404):
            return (
                f"{repo_id} could not be fetched (HTTP {_status(cause)}: "
                f"{_first_line(cause)}). Check the name; if it is private or gated, "
                "accept its terms on its page and log in with `hf auth login`."
            )
    return (
        f"{repo_id} could not be fetched ({type(error).__name__}: "
        f"{_first_line(error)}). Check the name and the network, or give the path of "
        "a downloaded folder."
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
