"""The door of the package: what is behind it, and what it looks like."""

import inspect
from typing import Any

import pytest

import convert
import fastvlm_mlx
from fastvlm_mlx import errors

PUBLIC = {
    "CacheError",
    "CacheStats",
    "Chat",
    "CheckpointError",
    "ConfigError",
    "FastVLM",
    "FastVLMError",
    "GenerationOptions",
    "GenerationResult",
    "HubError",
    "JobError",
    "Outcome",
    "Request",
    "WriteError",
    "ImageError",
    "ImageInput",
    "MemoryBudgetError",
    "OptionError",
    "PromptError",
    "TextStream",
    "Timings",
    "__version__",
    "load",
}

# Changing one of these breaks what people wrote: say so in CHANGELOG.md.
SIGNATURES = {
    "load": (
        "(model: str | os.PathLike[str] = 'nano', *, revision: str | None = None, "
        "dtype: str | None = None, cache_bytes: int | None = None, "
        "cache_folder: str | os.PathLike[str] | None = None, "
        "memory_limit: int | str | None = None) "
        "-> fastvlm_mlx.engine.FastVLM"
    ),
    "FastVLM.generate": "(self, image, prompt, *, system=None, **options)",
    "FastVLM.batch": "(self, requests, *, batch_size=8)",
    "FastVLM.batch_as_finished": "(self, requests, *, batch_size=8)",
    "Request": "(prompt, images=(), *, system=None, id=None, **options)",
    "Outcome": "(*, index, id, result, error)",
    "FastVLM.stream": "(self, image, prompt, *, system=None, **options)",
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
    assert set(fastvlm_mlx.__all__) == set(dir(fastvlm_mlx)) == PUBLIC
    assert fastvlm_mlx.__all__ == sorted(fastvlm_mlx.__all__)


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
        "inspect_folder",
        "upload",
    }


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_a_public_name_is_there_and_explained(name: str) -> None:
    found = getattr(fastvlm_mlx, name)
    assert found.__name__ == name
    assert found.__module__.startswith("fastvlm_mlx.")
    # a dataclass without a docstring is given its signature
    assert found.__doc__ and not found.__doc__.startswith(f"{name}(")


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_public_methods_are_explained(name: str) -> None:
    found = getattr(fastvlm_mlx, name)
    methods = vars(found) if inspect.isclass(found) else {}
    bare = [
        key
        for key, value in methods.items()
        if not key.startswith("_") and callable(value) and not value.__doc__
    ]
    assert not bare


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
    assert names == {name for name in PUBLIC if name.endswith("Error")}


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
    assert (
        str(inspect.signature(fastvlm_mlx.load)).replace("ForwardRef", "")
        == (SIGNATURES["load"])
    )


def test_results_keep_their_fields() -> None:
    fields = set(inspect.signature(fastvlm_mlx.GenerationResult).parameters)
    assert {"text", "token_ids", "finish_reason", "timings"} <= fields
