"""From what a person calls a model to a converted folder on this disk.

"nano" is the model inside the package. A folder in this package's format is used
as it is. A PyTorch folder, or a hub id such as "apple/FastVLM-0.5B", is converted
once into a cache folder, under a name that changes with its files.
"""

import hashlib
import importlib
import logging
import os
import re
from pathlib import Path
from typing import Any

from .config import FORMAT_VERSION, STAMP, FastVLMConfig
from .errors import CheckpointError, FastVLMError, quoted
from .model_folder import CONFIG_FILE, ModelFolder, read_json
from .paths import expanded

EMBEDDED = "nano"

REPOSITORIES = {
    "0.5b": "apple/FastVLM-0.5B",
    "1.5b": "apple/FastVLM-1.5B",
    "7b": "apple/FastVLM-7B",
}
"""Where Apple publishes its sizes (https://huggingface.co/apple)."""

SHORT_NAMES = (EMBEDDED, *REPOSITORIES, *(f"{size}-4bit" for size in REPOSITORIES))
"""What is worth suggesting; other bits may be said as well."""

_SHORT = re.compile(r"(0\.5b|1\.5b|7b)(?:-([234568])bit)?", re.IGNORECASE)

CACHE_VARIABLE = "FASTVLM_MLX_CACHE"
"""Environment variable that moves the cache folder."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

_log = logging.getLogger(__name__)


def resolve(model: str | os.PathLike[str], revision: str | None = None) -> Path:
    """Find the converted folder of a model; as `find_model`, without its config."""
    return find_model(model, revision).path


def find_model(
    model: str | os.PathLike[str], revision: str | None = None
) -> ModelFolder:
    """Find the converted folder of a model, converting it on first use.

    Args:
        model: "nano", a folder, a hub id, or a short name of Apple's models such as
            "0.5b", or "0.5b-4bit" to quantize it as well; a folder comes first. Or what
            this function returned.
        revision: branch, tag or commit of a hub id.

    Raises:
        CheckpointError: nothing usable is there.
        HubError: the download failed.
    """
    if isinstance(model, ModelFolder):
        return model
    if model == EMBEDDED:
        return ModelFolder.read(Path(__file__).parent / "assets" / EMBEDDED)
    folder = expanded(model)
    if os.path.isdir(folder):  # unlike Path's, never raises
        return _converted(folder, name=folder.resolve().name)
    if os.path.exists(folder):
        raise CheckpointError(f"{quoted(model)} is a file; expected a model folder.")
    name, bits = published_model(str(model)) or (str(model), None)
    if not is_hub_id(name):
        raise CheckpointError(
            f"{quoted(model)} is not a folder here; expected {EMBEDDED!r}, a model "
            'folder, or a hub id such as "apple/FastVLM-0.5B", for short 0.5b.'
        )
    return _converted(download(name, revision), name, bits)


def published_model(name: str) -> tuple[str, int | None] | None:
    """The hub id that a short name means, and the bits to quantize its language model
    to; None if it is no short name.

    >>> published_model("0.5b-4bit")
    ('apple/FastVLM-0.5B', 4)
    """
    found = _SHORT.fullmatch(name)
    if found is None:
        return None
    return REPOSITORIES[found[1].lower()], int(found[2]) if found[2] else None


def is_hub_id(name: str) -> bool:
    """Whether a name has the form "owner/model"."""
    return bool(_HUB_ID.fullmatch(name))


def download(
    repo_id: str, revision: str | None = None, *, offline: bool = False
) -> Path:
    """Bring the files of a model from the Hugging Face hub, or find them cached.

    Args:
        offline: ask nobody; HF_HUB_OFFLINE=1 says so for every command.

    Raises:
        HubError: the download failed.
        ConfigError, CheckpointError: it is no FastVLM; its weights are not fetched.
    """
    folder: Path = _converter().download(repo_id, revision, offline=offline)
    return folder


def cache_folder() -> Path:
    """Where converted models are kept; FASTVLM_MLX_CACHE moves it."""
    stated = os.environ.get(CACHE_VARIABLE)
    base = stated or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        folder = Path(base).expanduser()
    except RuntimeError:  # a user without a home, as in some containers
        raise CheckpointError(
            f"{base} does not exist; set {CACHE_VARIABLE} to a folder for models."
        ) from None
    return folder if stated else folder / "fastvlm-mlx"


def _converted(folder: Path, name: str, bits: int | None = None) -> ModelFolder:
    config = folder / CONFIG_FILE
    values = read_json(config) if config.is_file() else {}
    if STAMP in values:
        return ModelFolder(folder, FastVLMConfig.from_dict(values))
    safe_name = re.sub(r"[^\w.-]+", "--", name).strip("-") or "model"
    safe_name += f"-{bits}bit" if bits else ""
    target = cache_folder() / f"{safe_name}-{_fingerprint(folder)}"
    if target.is_dir():
        return ModelFolder.read(target)
    _log.info("Converting %s once into %s.", name, target)
    _convert(folder, target, name, bits)
    found = ModelFolder.read(target)
    _show_license(found)
    return found


def _convert(folder: Path, target: Path, name: str, bits: int | None) -> None:
    converter = _converter()
    recipe = None if bits is None else converter.Recipe(bits=bits)
    try:
        # what the bits cost is judged by `quality`, not while somebody waits
        converter.convert_checkpoint(
            folder, target, recipe=recipe, source_name=name, quality_samples=0
        )
    except FastVLMError:
        if not target.is_dir():  # else another process was faster, which is as good
            raise


def _converter() -> Any:
    """By name only: the converter imports the runtime, not the other way round."""
    return importlib.import_module("fastvlm_mlx.convert")


def _show_license(model: ModelFolder) -> None:
    has_text = (model.path / "LICENSE").exists()
    _log.warning(
        "Licence of the weights: %s (%s in %s).",
        model.config.license or "not stated; that of the original",
        "see LICENSE and NOTICE" if has_text else "see NOTICE",
        model.path,
    )


def _fingerprint(folder: Path) -> str:
    """Changes with a file of the folder or the format, without reading the weights."""
    digest = hashlib.sha256(f"{FORMAT_VERSION} {folder.resolve()}".encode())
    for file in sorted(folder.iterdir()):
        if file.is_file():
            status = file.stat()
            digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]
