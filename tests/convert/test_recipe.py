"""Which packing each weight of a network gets, and which settings contradict."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.recipe import BITS, MIXED, PARTS, WHOLE, Part, Recipe, part_of
from fastvlm_mlx.config import PACKINGS, Packing
from fastvlm_mlx.errors import OptionError

EMBEDDING = "language_model.model.embed_tokens.weight"
HEAD = "language_model.lm_head.weight"
MODULES = ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj")


def layer(number: int, module: str) -> str:
    return f"language_model.model.layers.{number}.{module}.weight"


def network(layers: int, tied: bool = False) -> list[str]:
    """Names of a network's matrices."""
    return [
        "vision_tower.stages.0.blocks.0.convffn.fc1.weight",
        "mm_projector.linear_1.weight",
        EMBEDDING,
        *(layer(number, module) for number in range(layers) for module in MODULES),
        *([] if tied else [HEAD]),
    ]


def bits(recipe: Recipe, names: list[str]) -> dict[Part, set[int]]:
    """The bits that occur in each part."""
    found = recipe.packings(names)
    return {
        part: {
            found[name].bits if name in found else WHOLE
            for name in names
            if part_of(name) == part
        }
        for part in PARTS
    }


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "bits": st.sampled_from((*BITS, 1, 7)),
        "group_size": st.sampled_from((16, 32, 64, 128, 48)),
        "mode": st.sampled_from([*PACKINGS, "int4"]),
        "sensitive_bits": st.sampled_from(BITS),
        "calibrate": st.booleans(),
        **{f"{part}_bits": st.sampled_from((*BITS, 0)) for part in PARTS},
    },
)


@given(SETTINGS, st.integers(1, 40), st.booleans())
def test_any_settings_make_a_recipe_or_an_error(
    settings: dict[str, Any], layers: int, tied: bool
) -> None:
    """Whatever is accepted packs something, and only as MLX can."""
    try:
        recipe = Recipe(**settings)
    except OptionError as error:
        assert str(error).endswith(".")
        return
    names = network(layers, tied)
    found = recipe.packings(names)
    assert found.keys() <= set(names)
    for part in PARTS:
        own = settings.get(f"{part}_bits")
        if own is not None and not (tied and part in ("embed", "head")):
            assert bits(recipe, names)[part] <= {own, settings.get("sensitive_bits")}
    for packing in found.values():
        known = PACKINGS[packing.mode]
        assert packing.bits in known[0] and packing.group_size in known[1]


@given(st.sampled_from(sorted(MIXED)), st.integers(1, 80))
def test_mixed_recipes_give_more_to_some_of_the_layers(name: str, layers: int) -> None:
    low, high = MIXED[name]
    found = Recipe.named(name).packings(network(layers))
    for number in range(layers):
        assert found[layer(number, "self_attn.q_proj")].bits == low
        pair = {found[layer(number, each)].bits for each in MODULES[1::2]}
        assert pair in ({low}, {high})
    assert found[layer(0, "mlp.down_proj")].bits == high
    assert found[layer(layers - 1, "mlp.down_proj")].bits == high
    many = sum(found[layer(n, "mlp.down_proj")].bits == high for n in range(layers))
    assert layers / 4 <= many <= max(2, 0.55 * layers + 1)


def test_the_layers_of_a_mixed_recipe() -> None:
    """Worked out by hand for FastVLM-0.5B's 24 layers: 0-2, 21-23, every third."""
    found = Recipe.named("mixed-4-6").packings(network(24))
    many = [n for n in range(24) if found[layer(n, "mlp.down_proj")].bits == 6]
    assert many == [0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23]


def test_what_four_bits_mean() -> None:
    found = bits(Recipe(4), network(2))
    assert found == {
        "llm": {4},
        "embed": {6},
        "head": {6},
        "projector": {WHOLE},
        "tower": {WHOLE},
    }


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("few", [3, 8])
def test_a_part_alone(part: Part, few: int) -> None:
    found = bits(Recipe(**{f"{part}_bits": few}), network(2))  # type: ignore[arg-type]
    assert found == {each: {few if each == part else WHOLE} for each in PARTS}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_left_whole(part: Part) -> None:
    settings: dict[str, Any] = {"tower_bits": 4, "projector_bits": 4}
    recipe = Recipe(4, **(settings | {f"{part}_bits": 16}))
    assert bits(recipe, network(2))[part] == {WHOLE}


@pytest.mark.parametrize(
    ("embed", "head", "expected"), [(4, 6, 6), (6, 4, 6), (16, 4, 16), (4, 16, 16)]
)
def test_a_tied_embedding_gets_the_larger(embed: int, head: int, expected: int) -> None:
    recipe = Recipe(4, embed_bits=embed, head_bits=head)
    assert bits(recipe, network(2, tied=True))["embed"] == {expected}
    assert bits(recipe, network(2))["embed"] == {embed}


@pytest.mark.parametrize("mode", ["mxfp4", "nvfp4", "mxfp8"])
def test_modes_of_their_own(mode: Any) -> None:
    recipe = Recipe(mode=mode, tower_bits=8)
    found = recipe.packings(network(1))
    few, groups = PACKINGS[recipe.mode]
    assert found[layer(0, "mlp.up_proj")] == Packing(few[0], groups[0], mode)
    assert found[network(1)[0]] == Packing(8, 64)
    assert found[HEAD] == (Packing(8, 32, mode) if few == (8,) else Packing(6, 64))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "Nothing would be quantized"),
        ({"bits": 16}, "Nothing would be quantized"),
        ({"bits": 7}, "7 bits; expected one of 2, 3, 4, 5, 6, 8, 16"),
        ({"bits": 4, "tower_bits": 1}, "1 bits; expected one of 2"),
        ({"bits": 4, "group_size": 48}, "affine has groups of 32 or 64 or 128"),
        ({"mode": "nvfp4", "group_size": 64}, "nvfp4 has groups of 16"),
        ({"mode": "mxfp4", "bits": 8}, "mxfp4 has 4"),
        ({"mode": "fp6"}, "mode is 'fp6'"),
        ({"bits": 4, "sensitive_bits": 4}, "expected the second to be more"),
        ({"bits": 4, "sensitive_bits": 16}, "less than 16"),
        ({"bits": 4, "sensitive_bits": 6, "llm_bits": 3}, "its own bits"),
        ({"mode": "mxfp4", "sensitive_bits": 6}, "A mixed recipe is affine"),
        ({"mode": "mxfp4", "calibrate": True}, "Calibrating is for"),
        ({"tower_bits": 8, "calibrate": True}, "Calibrating is for"),
    ],
)
def test_contradictions(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Recipe(**settings)


def test_an_unknown_name() -> None:
    with pytest.raises(OptionError, match="expected one of mixed-2-6"):
        Recipe.named("mixed-9")
