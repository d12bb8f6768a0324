"""From a JSON object to a frozen dataclass and back; fields checked by their types."""

import dataclasses
import math
from collections.abc import Mapping
from types import UnionType
from typing import (
    Any,
    Literal,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from .errors import ConfigError, quoted

LARGEST_SIZE = 1 << 24
"""No width, depth, vocabulary or context reaches this; larger is a damaged file."""

_T = TypeVar("_T")


def build(kind: type[_T], values: object) -> _T:
    """Make a dataclass of a JSON object; keys that are no fields are ignored.

    Raises:
        ConfigError: it is no object, or a field without a default is missing.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"{kind.__name__} needs a JSON object, found {quoted(values)}."
        )
    known = {}
    for each in dataclasses.fields(kind):  # type: ignore[arg-type]
        if each.name in values:
            known[each.name] = _frozen(values[each.name])
        elif each.default is dataclasses.MISSING:
            raise ConfigError(f"{kind.__name__} lacks the key {each.name!r}.")
    return kind(**known)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def plain(config: Any) -> dict[str, Any]:
    """The fields of a dataclass as JSON has them: lists in place of tuples."""
    return {key: _thawed(value) for key, value in dataclasses.asdict(config).items()}


def _thawed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _thawed(each) for key, each in value.items()}
    return (
        [_thawed(each) for each in value] if isinstance(value, tuple | list) else value
    )


def check_fields(config: Any, smallest_size: int = 1) -> None:
    """Check that every field is of its type, and every whole number a plausible size.

    Args:
        config: a dataclass; its fields may state `smallest` in their metadata.
        smallest_size: the least that whole numbers may be.

    Raises:
        ConfigError: names the first field that is not.
    """
    kinds = get_type_hints(type(config))
    for each in dataclasses.fields(config):
        name, kind, value = each.name, kinds[each.name], getattr(config, each.name)
        smallest = each.metadata.get("smallest", smallest_size)
        if not _fits(value, kind, smallest):
            expected = kind.__name__ if isinstance(kind, type) else str(kind)
            if "int" in expected:
                expected += f" from {smallest} to {LARGEST_SIZE - 1}"
            raise ConfigError(
                f"{type(config).__name__}.{name} is {quoted(value)}; "
                f"expected {expected}."
            )


def _fits(value: Any, kind: Any, smallest: int) -> bool:
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        if not isinstance(value, tuple):
            return False
        if kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(value)
        return len(kinds) == len(value) and all(
            map(_fits, value, kinds, [smallest] * len(kinds))
        )
    if get_origin(kind) is UnionType:
        return any(_fits(value, each, smallest) for each in get_args(kind))
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind is int:
        return type(value) is int and smallest <= value < LARGEST_SIZE
    if kind is float:
        return type(value) in (int, float) and 0 < value < math.inf
    return isinstance(value, get_origin(kind) or kind)
