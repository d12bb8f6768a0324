"""The door of the package: what is behind it, and what it looks like."""

import dataclasses
import inspect
from typing import Any

import pytest

import convert
import fastvlm_mlx
from fastvlm_mlx import GenerationOptions, errors
from fastvlm_mlx.options import Options

MOST_NAMES = 12
PUBLIC = sorted(fastvlm_mlx.__all__)
CLASSES = [name for name in PUBLIC if inspect.isclass(getattr(fastvlm_mlx, name))]

# Changing one of these breaks what people wrote: say so in CHANGELOG.md.
SIGNATURES = {
    "load": (
        "(model: str | os.PathLike[str] = 'nano', *, revision: str | None = None, "
        "dtype: str | None = None, cache_bytes: int | None = None, "
        "cache_folder: str | os.PathLike[str] | None = None, "
        "memory_limit: int | str | None = None) "
        "-> fastvlm_mlx.fastvlm.FastVLM"
    ),
    "FastVLM.generate": "(self, image, prompt, *, system=None, **options)",
    "FastVLM.batch": "(self, requests, *, batch_size=8)",
    "FastVLM.batch_as_finished": "(self, requests, *, batch_size=8)",
    "Request": "(prompt, images=(), *, system=None, history=(), id=None, **options)",
    "Outcome": "(*, index, id, result, error)",
    "FastVLM.stream": "(self, image, prompt, *, system=None, **options)",
    "FastVLM.agenerate": "(self, image, prompt, *, system=None, **options)",
    "FastVLM.astream": "(self, image, prompt, *, system=None, **options)",
    "FastVLM.chat": "(self, system=None, **options)",
    "FastVLM.load_prompt_cache": "(self, path)",
    "FastVLM.save_prompt_cache": "(self, path)",
    "Chat.ask": "(self, text, image=None, **options)",
    "Chat.stream": "(self, text, image=None, **options)",
    "GenerationOptions": (
        "(*, max_tokens=256, stop=(), temperature=0.0, top_p=1.0, min_p=0.0, top_k=0, "
        "seed=None, resolution=None, max_visual_tokens=None, keep_aspect=False, "
        "anyres=False, image_mode=None, exact_pixels=False, use_cache=True, "
        "prefill_step=None, max_kv_size=None, kv_bits=None, kv_group_size=64, "
        "quantized_kv_start=0)"
    ),
    "convert_checkpoint": (
        "(source, output, *, tower=None, to='fused', recipe=None, dtype=None, "
        "overwrite=False, source_name=None, quality_samples=32, progress, judging, "
        "dry_run=False)"
    ),
    "compare_folders": "(first, second, *, count=32, progress)",
    "Recipe": (
        "(bits=None, group_size=None, mode='affine', sensitive_bits=None, "
        "llm_bits=None, projector_bits=None, tower_bits=None, embed_bits=None, "
        "head_bits=None, calibrate=False)"
    ),
}


def find(path: str) -> Any:
    found: Any = convert if hasattr(convert, path) else fastvlm_mlx
    for name in path.split("."):
        found = getattr(found, name)
    return found


def plain(signature: inspect.Signature) -> inspect.Signature:
    """Without annotations, and without defaults that have no stable text."""
    parameters = [
        parameter.replace(
            annotation=inspect.Parameter.empty,
            default=inspect.Parameter.empty
            if callable(parameter.default)
            else parameter.default,
        )
        for parameter in signature.parameters.values()
    ]
    return signature.replace(parameters=parameters, return_annotation=signature.empty)


def test_all_is_the_truth() -> None:
    """What the package shows is what it has, and it is little."""
    for name in PUBLIC:
        getattr(fastvlm_mlx, name)
    reachable = {
        name
        for name, value in vars(fastvlm_mlx).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    reachable -= {"Any", "TYPE_CHECKING"}
    assert reachable | {"__version__", "errors"} == set(PUBLIC)
    assert fastvlm_mlx.__all__ == dir(fastvlm_mlx) == PUBLIC
    assert len(PUBLIC) <= MOST_NAMES


def test_the_names_of_the_converter() -> None:
    assert set(convert.__all__) == {
        "ConversionReport",
        "Inspection",
        "Quality",
        "Recipe",
        "check_samples",
        "compare_folders",
        "convert_checkpoint",
        "download",
        "downloads_of",
        "inspect_folder",
        "remove_folder",
        "upload",
    }


def test_public_names_are_explained_and_say_where_they_are_from() -> None:
    faults = []
    for name in CLASSES + ["load"]:
        found = getattr(fastvlm_mlx, name)
        if (found.__name__, found.__module__) != (name, "fastvlm_mlx"):
            faults.append(f"{found.__module__}.{found.__name__}")
        # a dataclass without a docstring is given its signature
        if not found.__doc__ or found.__doc__.startswith(f"{name}("):
            faults.append(f"{name} has no docstring")
    assert not faults
    assert repr(fastvlm_mlx.FastVLM) == "<class 'fastvlm_mlx.FastVLM'>"


def public_members(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def test_public_methods_are_explained() -> None:
    bare = [
        f"{name}.{member}"
        for name in CLASSES
        for member in public_members(getattr(fastvlm_mlx, name))
        if callable(found := getattr(getattr(fastvlm_mlx, name), member))
        and not found.__doc__
    ]
    assert not bare


def test_what_a_user_holds_has_no_internals() -> None:
    assert public_members(fastvlm_mlx.FastVLM) == {
        *("generate", "stream", "agenerate", "astream"),
        *("chat", "batch", "batch_as_finished"),
        *("cache_stats", "save_prompt_cache", "load_prompt_cache"),
    }
    assert set(vars(fastvlm_mlx.load("nano"))) == {"engine"}


def test_options_are_typed_as_they_are_checked() -> None:
    fields = {field.name for field in dataclasses.fields(GenerationOptions)}
    assert set(Options.__annotations__) == fields


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Session'"):
        _ = fastvlm_mlx.Session
    assert not hasattr(fastvlm_mlx, "mx")


def test_the_version_is_a_version() -> None:
    assert [part.isdigit() for part in fastvlm_mlx.__version__.split(".")[:2]] == [
        True,
        True,
    ]


# --- errors -----------------------------------------------------------------------

FAMILY = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, BaseException)
]


def test_every_error_is_public() -> None:
    names = {error.__name__ for error in FAMILY}
    assert names == {name for name in vars(errors) if name.endswith("Error")}
    assert len(names) > 10


@pytest.mark.parametrize("error", FAMILY)
def test_errors_are_one_family(error: type[Exception]) -> None:
    assert issubclass(error, fastvlm_mlx.FastVLMError)
    assert str(error("what was found")) == "what was found"


@pytest.mark.parametrize("error", FAMILY)
def test_the_family_tree_is_drawn(error: type[Exception]) -> None:
    assert error.__name__ in (errors.__doc__ or "")


def test_one_except_is_enough() -> None:
    """But it does not hide mistakes of another kind."""
    assert fastvlm_mlx.FastVLMError.__bases__ == (Exception,)


# --- signatures -------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(SIGNATURES.keys() - {"load"}))
def test_signatures(path: str) -> None:
    assert str(plain(inspect.signature(find(path)))) == SIGNATURES[path]


def test_the_signature_of_load() -> None:
    assert str(inspect.signature(fastvlm_mlx.load)).startswith(
        SIGNATURES["load"].partition(" -> ")[0]
    )


def test_results_keep_their_fields() -> None:
    fields = set(inspect.signature(fastvlm_mlx.GenerationResult).parameters)
    assert {"text", "token_ids", "finish_reason", "timings"} <= fields
