"""`fastvlm-mlx inspect`: what a model folder holds."""

import argparse
import dataclasses
import importlib
from typing import Any

from .arguments import Verbs, add_everywhere
from .terminal import answer, answer_json

LAYOUTS = {
    "fused": "fastvlm-mlx's own",
    "llava_qwen2": "Apple's PyTorch repositories (llava)",
    "fast_vlm": "transformers",
    "mlx_vlm": "mlx-vlm, mlx-community",
    "apple_mlx": "Apple's MLX exports",
    "mobileclip": "MobileCLIP image encoder",
    "open_clip": "OpenCLIP image encoder",
    "timm": "timm image encoder",
}


def add_parser(verbs: Verbs) -> None:
    """Tell the command of this verb."""
    parser = verbs.add_parser(
        "inspect",
        help="show what a model folder holds",
        description="Show what a model folder holds, of any layout. Only headers are "
        "read.",
    )
    parser.add_argument("model", metavar="MODEL", help='a folder, a hub id, or "nano"')
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument("--json", action="store_true", help="one JSON object instead")
    add_everywhere(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Find the folder and look at it; nothing is converted."""
    from ..resolve import find_source

    folder = find_source(arguments.model, revision=arguments.revision)
    found = importlib.import_module("fastvlm_mlx.convert").inspect_folder(folder)
    if arguments.json:
        answer_json(_as_json(found))
    else:
        answer(_in_words(found))


def _as_json(found: Any) -> dict[str, Any]:
    values = dataclasses.asdict(found)
    for part, described in zip(found.parts, values["parts"], strict=True):
        described["bits_per_weight"] = part.bits_per_weight
    values["config"] = found.config and found.config.to_dict()
    return {**values, "missing": found.missing}


def _in_words(found: Any) -> str:
    parameters = sum(part.parameters for part in found.parts)
    stored = sum(part.stored_bytes for part in found.parts)
    return "\n".join(
        [
            f"layout      {found.layout}: {LAYOUTS[found.layout]}",
            *([f"missing     {found.missing}"] if found.missing else []),
            f"source      {found.source or 'not stated'}",
            f"licence     {found.license or 'not stated'}",
            *_language(found),
            *_tower(found),
            *(f"to fold     {count} {what}" for what, count in found.folds.items()),
            *(f"to drop     {reason}" for reason in sorted({*found.dropped.values()})),
            "",
            f"{'part':<16}{'parameters':>14}{'MB':>10}{'bits':>7}  stored as",
            *(_row(part) for part in found.parts),
            f"{'all':<16}{parameters:>14,}{stored / 1e6:>10.2f}"
            f"{8 * stored / parameters:>7.2f}",
        ]
    )


def _language(found: Any) -> list[str]:
    if found.text is None:
        return []
    text = found.text
    head = ""
    if found.config:
        head = ", tied head" if text.tie_word_embeddings else ", a head of its own"
    return [
        f"language    {text.model_type}, {text.num_hidden_layers} layers of "
        f"{text.hidden_size}, {text.vocab_size} tokens{head}"
    ]


def _tower(found: Any) -> list[str]:
    if found.config is None:
        return []
    config = found.config
    height, width = config.vision_config.image_size
    tokens = ", ".join(f"{side}: {count}" for side, count in found.tokens.items())
    ends = ", ".join(map(str, config.eos_token_ids))
    sides = ", ".join(map(str, config.vision_config.trained_resolutions))
    others = f" (sides of {sides})" if sides else ""
    return [
        f"tokens      image {config.image_token_index}, end {ends}; at most "
        f"{config.max_length} positions",
        f"images    {height}x{width} pixels in training{others}; visual tokens by "
        f"side: {tokens}",
    ]


def _row(part: Any) -> str:
    return (
        f"{part.name:<16}{part.parameters:>14,}{part.stored_bytes / 1e6:>10.2f}"
        f"{part.bits_per_weight:>7.2f}  {', '.join(part.dtypes)}"
    )
