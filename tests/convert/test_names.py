"""The table of names, proof-read against the published layouts.

Pairs are those of Apple's `mci.py` and timm's `fastvit.py`, written out by hand.
"""

import pytest

from convert.names import Layout, Naming, detect_layout, rename
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import CheckpointError
from tests.convert.folders import GOLDENS, arrays_of

APPLE_TOWER = "model.vision_tower.vision_tower.model."
TIMM_TOWER = "model.vision_tower.timm_model."

# FastViTHD's list `network`, position by position.
STAGES = {
    0: "stages.0.blocks.",
    1: "stages.1.downsample.",
    2: "stages.1.blocks.",
    3: "stages.2.downsample.",
    4: "stages.2.blocks.",
    5: "stages.3.downsample.",
    6: "stages.3.pos_emb.",
    7: "stages.3.blocks.",
    8: "stages.4.downsample.",
    9: "stages.4.pos_emb.",
    10: "stages.4.blocks.",
}

TOWER = [
    ("patch_embed.0.reparam_conv.weight", "stem.0.reparam_conv.weight"),
    ("patch_embed.2.rbr_skip.running_var", "stem.2.identity.running_var"),
    ("patch_embed.1.rbr_conv.0.bn.weight", "stem.1.conv_kxk.0.bn.weight"),
    ("patch_embed.1.rbr_conv.0.conv.weight", "stem.1.conv_kxk.0.conv.weight"),
    ("network.0.1.layer_scale", "stages.0.blocks.1.layer_scale.gamma"),
    ("network.0.0.convffn.conv.bn.bias", "stages.0.blocks.0.mlp.conv.bn.bias"),
    ("network.2.11.convffn.fc1.weight", "stages.1.blocks.11.mlp.fc1.weight"),
    (
        "network.4.23.token_mixer.reparam_conv.bias",
        "stages.2.blocks.23.token_mixer.reparam_conv.bias",
    ),
    (
        "network.0.0.token_mixer.layer_scale",
        "stages.0.blocks.0.token_mixer.layer_scale.gamma",
    ),
    (
        "network.0.0.token_mixer.norm.rbr_skip.weight",
        "stages.0.blocks.0.token_mixer.norm.identity.weight",
    ),
    (
        "network.0.0.token_mixer.mixer.rbr_scale.conv.weight",
        "stages.0.blocks.0.token_mixer.mixer.conv_scale.conv.weight",
    ),
    (
        "network.1.proj.0.lkb_reparam.weight",
        "stages.1.downsample.proj.0.reparam_conv.weight",
    ),
    (
        "network.3.proj.0.lkb_origin.bn.running_mean",
        "stages.2.downsample.proj.0.large_conv.bn.running_mean",
    ),
    (
        "network.5.proj.0.small_conv.conv.weight",
        "stages.3.downsample.proj.0.small_conv.conv.weight",
    ),
    (
        "network.8.proj.1.reparam_conv.bias",
        "stages.4.downsample.proj.1.reparam_conv.bias",
    ),
    ("network.6.reparam_conv.weight", "stages.3.pos_emb.reparam_conv.weight"),
    ("network.9.pe.bias", "stages.4.pos_emb.pos_enc.bias"),
    ("network.7.3.norm.weight", "stages.3.blocks.3.norm.weight"),
    (
        "network.7.0.token_mixer.qkv.weight",
        "stages.3.blocks.0.token_mixer.qkv.weight",
    ),
    ("network.10.1.layer_scale_1", "stages.4.blocks.1.layer_scale_1.gamma"),
    ("network.10.1.layer_scale_2", "stages.4.blocks.1.layer_scale_2.gamma"),
    ("conv_exp.reparam_conv.weight", "final_conv.reparam_conv.weight"),
    ("conv_exp.rbr_scale.bn.weight", "final_conv.conv_scale.bn.weight"),
    ("conv_exp.se.reduce.weight", "final_conv.se.fc1.weight"),
    ("conv_exp.se.expand.bias", "final_conv.se.fc2.bias"),
    ("head.proj", "head.proj"),
]

APPLE_REST = [
    ("model.mm_projector.0.weight", "mm_projector.linear_1.weight"),
    ("model.mm_projector.2.bias", "mm_projector.linear_2.bias"),
    ("lm_head.weight", "language_model.lm_head.weight"),
    ("model.embed_tokens.weight", "language_model.model.embed_tokens.weight"),
    ("model.norm.weight", "language_model.model.norm.weight"),
    (
        "model.layers.3.self_attn.q_proj.bias",
        "language_model.model.layers.3.self_attn.q_proj.bias",
    ),
]

FAST_VLM_REST = [
    (
        "model.multi_modal_projector.linear_1.weight",
        "mm_projector.linear_1.weight",
    ),
    ("model.multi_modal_projector.linear_2.bias", "mm_projector.linear_2.bias"),
    ("lm_head.weight", "language_model.lm_head.weight"),
    (
        "model.language_model.embed_tokens.weight",
        "language_model.model.embed_tokens.weight",
    ),
    (
        "model.language_model.layers.0.mlp.up_proj.weight",
        "language_model.model.layers.0.mlp.up_proj.weight",
    ),
]

PAIRS: list[tuple[Layout, str, str]] = [
    *(("llava_qwen2", APPLE_TOWER + a, "vision_tower." + t) for a, t in TOWER),
    *(("fast_vlm", TIMM_TOWER + t, "vision_tower." + t) for _, t in TOWER),
    *(("llava_qwen2", theirs, ours) for theirs, ours in APPLE_REST),
    *(("fast_vlm", theirs, ours) for theirs, ours in FAST_VLM_REST),
]


def naming(layout: Layout) -> Naming:
    return Naming(layout, STAGES if layout == "llava_qwen2" else {})


def test_known_pairs() -> None:
    for_each = [(naming(layout), theirs, ours) for layout, theirs, ours in PAIRS]
    assert [(t, o) for each, t, o in for_each if each.ours(t) != o] == []
    assert [(t, o) for each, t, o in for_each if each.theirs(o) != t] == []


def test_both_ways_are_inverse_on_every_key(name: str) -> None:
    keys = arrays_of(GOLDENS / name).keys()
    translate = naming(detect_layout(keys))
    assert [translate.theirs(translate.ours(key)) for key in keys] == list(keys)
    assert len({translate.ours(key) for key in keys}) == len(keys)


def test_both_layouts_meet_in_the_same_names() -> None:
    """What one block is called must not depend on where it came from."""
    first, second = (
        {key for key in renamed(name) if ".stages.3.blocks.0." in key}
        for name in ("apple-fused", "fast_vlm-fused")
    )
    assert first == second != set()


def renamed(name: str) -> set[str]:
    arrays = {key: mx.array(each) for key, each in arrays_of(GOLDENS / name).items()}
    return set(rename(arrays)[0].arrays)


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("apple-train", "llava_qwen2"),
        ("apple-fused", "llava_qwen2"),
        ("fast_vlm-train", "fast_vlm"),
        ("fast_vlm-fused", "fast_vlm"),
    ],
)
def test_layout_is_told_by_the_keys(name: str, layout: str) -> None:
    assert detect_layout(arrays_of(GOLDENS / name)) == layout


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["model.layers.0.mlp.up_proj.weight"],
        ["language_model.model.norm.weight", "multi_modal_projector.linear_1.bias"],
    ],
)
def test_no_known_tower(names: list[str]) -> None:
    with pytest.raises(CheckpointError, match="No FastVLM vision tower") as error:
        detect_layout(names)
    assert APPLE_TOWER in str(error.value)
    assert all(name in str(error.value) for name in names[:1])


def test_stages_follow_the_list_without_position_embeddings() -> None:
    """Positions in `network` shift where a stage has no RepCPE."""
    parts = ["0.0.layer_scale", "1.proj.0.lkb_reparam.bias", "2.0.layer_scale"]
    parts += ["3.pe.bias", "4.proj.0.lkb_reparam.bias", "5.0.layer_scale_1"]
    arrays = {f"{APPLE_TOWER}network.{part}": mx.zeros(1) for part in parts}
    assert sorted(rename(arrays)[0].arrays) == [
        "vision_tower.stages.0.blocks.0.layer_scale.gamma",
        "vision_tower.stages.1.blocks.0.layer_scale.gamma",
        "vision_tower.stages.1.downsample.proj.0.reparam_conv.bias",
        "vision_tower.stages.1.pos_emb.pos_enc.bias",
        "vision_tower.stages.2.blocks.0.layer_scale_1.gamma",
        "vision_tower.stages.2.downsample.proj.0.reparam_conv.bias",
    ]


@pytest.mark.parametrize(
    "dropped", ["network.0.0.convffn.conv.bn.num_batches_tracked", "head.proj"]
)
def test_what_inference_does_not_need(dropped: str) -> None:
    arrays = {f"{APPLE_TOWER}{dropped}": mx.zeros(1)}
    tensors, reasons = rename(arrays)
    assert not tensors.arrays
    assert list(reasons) == list(arrays)
    assert all(reasons.values())


@pytest.mark.parametrize(
    "rival",
    [
        # the name that only the converter uses, the other layout's word for the same
        "vision_tower.stem.0.reparam_conv.weight",
        f"{APPLE_TOWER}stem.0.reparam_conv.weight",
    ],
)
def test_two_tensors_for_one_place(rival: str) -> None:
    """The second must not replace the first unseen."""
    name = f"{APPLE_TOWER}patch_embed.0.reparam_conv.weight"
    with pytest.raises(CheckpointError) as error:
        rename({name: mx.zeros(1), rival: mx.zeros(1)})
    assert name in str(error.value)
    assert rival in str(error.value)


def test_origin_is_the_name_in_the_file() -> None:
    """Also for a name that follows no rule of its layout."""
    known, foreign = f"{APPLE_TOWER}patch_embed.0.x", "vision_tower.foreign"
    tensors, _ = rename({known: mx.zeros(1), foreign: mx.zeros(1)})
    assert {tensors.origin(name) for name in tensors.arrays} == {known, foreign}
    missing = "vision_tower.stem.1.reparam_conv.bias"
    assert tensors.origin(missing) == f"{APPLE_TOWER}patch_embed.1.reparam_conv.bias"
