"""`fastvlm-mlx models`: the converted models in the cache, listed and removed."""

import argparse
import datetime
import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FastVLMError, OptionError, quoted
from .arguments import Verbs, add_everywhere
from .terminal import FAILURE, OK, answer, answer_json, say

if TYPE_CHECKING:
    from ..caches.model_cache import ModelCache, ModelCopy

_STATES = {True: "", False: "source gone or changed", None: "source not noted"}


def add_parser(verbs: Verbs) -> None:
    """Tell the command of this verb."""
    parser = verbs.add_parser(
        "models",
        help="list and remove converted models",
        description="List the models that were converted on first use: what each was "
        "made of, its precision, size and last use. `models rm NAME` removes copies; "
        "the originals stay, and a model that is asked for again is converted again.",
    )
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "rm"),
        default="list",
        help="default: list",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="as listed, or its beginning"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead")
    add_everywhere(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List, or remove what was made here."""
    from ..caches.model_cache import ModelCache

    cache = ModelCache()
    if arguments.action == "rm":
        return _remove(cache, arguments.names)
    if arguments.names:
        raise OptionError("Names go with rm: fastvlm-mlx models rm NAME.")
    if arguments.json:
        answer_json(_as_json(cache))
    else:
        answer("\n".join(_lines(cache)))
    return OK


def _remove(cache: "ModelCache", names: list[str]) -> int:
    """Remove each copy that is named; the first that cannot be decides the status."""
    if not names:
        raise OptionError("models rm needs the name of a copy; `models` lists them.")
    copies = [_named(cache, name) for name in dict.fromkeys(names)]
    converter = importlib.import_module("fastvlm_mlx.convert")
    code = OK
    for copy in dict.fromkeys(copies):
        try:
            converter.remove_folder(copy.path)
        except FastVLMError as error:
            code = say(str(error), FAILURE)
        else:
            answer(f"removed {copy.name}, {_size(copy.stored_bytes)}")
    return code


def _named(cache: "ModelCache", name: str) -> "ModelCopy":
    """The one copy that has this name, or this beginning of a name.

    Raises:
        OptionError: none or several have, or it is nothing that was made here.
    """
    found = cache.contents()
    exact = [copy for copy in found.copies if copy.name == name]
    matching = exact or [copy for copy in found.copies if copy.name.startswith(name)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        names = ", ".join(copy.name for copy in matching)
        raise OptionError(f"{quoted(name)} could be {names}; give more of the name.")
    if any(path.name == name for path in (*found.others, *found.unfinished)):
        raise OptionError(
            f"{cache.folder / name} is no converted model of this package, so it is "
            "not removed."
        )
    known = ", ".join(copy.name for copy in found.copies) or "nothing"
    raise OptionError(
        f"No model in {cache.folder} is called {quoted(name)}; there is {known}."
    )


def _lines(cache: "ModelCache") -> Iterator[str]:
    from ..caches.model_cache import size_of

    found = cache.contents()
    rows = [_row(cache, copy) for copy in found.copies]
    if rows:
        yield from _table([("name", "source", "precision", "size", "last used"), *rows])
        yield ""
    total = sum(copy.stored_bytes for copy in found.copies)
    yield f"{_count(len(rows), 'converted model')}, {_size(total)}, in {cache.folder}"
    for name, stored in _downloads(found.copies).items():
        yield f"download of {name}: {_size(stored)}, in the hub's cache (hf cache)"
    if found.kernels:
        yield f"compiled kernels: {_size(found.kernels)}"
    if found.unfinished:
        size = sum(map(size_of, found.unfinished))
        yield (
            f"{_count(len(found.unfinished), 'unfinished conversion')}, {_size(size)}; "
            "the next conversion of the same model clears it"
        )
    if found.others:
        names = ", ".join(path.name for path in found.others)
        yield f"not made here, and left alone: {names}"


def _row(cache: "ModelCache", copy: "ModelCopy") -> tuple[str, ...]:
    state = _STATES[cache.is_current(copy)]
    used = datetime.datetime.fromtimestamp(copy.last_used).strftime("%Y-%m-%d %H:%M")
    return (
        copy.name,
        copy.config.source or "not stated",
        _precision(copy),
        _size(copy.stored_bytes),
        f"{used}  {state}".rstrip(),
    )


def _precision(copy: "ModelCopy") -> str:
    packing = copy.config.quantization
    if packing is None:
        return "not quantized"
    mode = "" if packing.mode == "affine" else f" {packing.mode}"
    return f"{packing.bits} bits{mode}"


def _downloads(copies: "Iterable[ModelCopy]") -> dict[str, int]:
    """Bytes in the hub's cache, by the hub id of each copy that came from there."""
    from ..caches.model_cache import size_of
    from ..resolve import is_hub_id

    converter = importlib.import_module("fastvlm_mlx.convert")
    names = sorted({copy.config.source for copy in copies})
    folders: dict[str, Path] = {
        name: converter.downloads_of(name) for name in names if is_hub_id(name)
    }
    return {name: size_of(each) for name, each in folders.items() if each.is_dir()}


def _as_json(cache: "ModelCache") -> dict[str, Any]:
    found = cache.contents()
    return {
        "folder": str(cache.folder),
        "models": [
            {
                "name": copy.name,
                "path": str(copy.path),
                "source": copy.config.source,
                "precision": _precision(copy),
                "bytes": copy.stored_bytes,
                "last_used": int(copy.last_used),
                "source_folder": copy.source and str(copy.source),
                "source_unchanged": cache.is_current(copy),
            }
            for copy in found.copies
        ],
        "downloads": _downloads(found.copies),
        "kernel_bytes": found.kernels,
        "unfinished": [path.name for path in found.unfinished],
        "others": [path.name for path in found.others],
    }


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _size(stored: int) -> str:
    return f"{stored / 1e9:.2f} GB" if stored >= 1e9 else f"{stored / 1e6:.1f} MB"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
