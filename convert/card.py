"""What goes with weights: the licence, what was changed, and a card that says so."""

from pathlib import Path

from fastvlm_mlx.config import FastVLMConfig, Packing, QuantizationConfig
from fastvlm_mlx.model_folder import CARD_FILE

from .quality import Quality
from .source import Source

_LAYOUTS = {
    "fused": "fastvlm-mlx's fused format (one folder, `fastvlm-mlx generate --model`)",
    "mlx-vlm": "the layout of mlx-vlm, which mlx-swift-lm reads too",
}


def write_legal(source: Source, config: FastVLMConfig, folder: Path) -> None:
    """Carry the licence along, and say what was changed, as licences ask."""
    for name, text in source.license_texts().items():
        (folder / name).write_bytes(text)
    notice = f"{_changes(config)}\nThe licence of the original applies"
    notice += f": {config.license}.\n" if config.license else ".\n"
    (folder / "NOTICE").write_text(notice, encoding="utf-8")


def write_card(
    config: FastVLMConfig, folder: Path, layout: str, quality: Quality | None
) -> None:
    """Write the model card: front matter of the hub, then source, recipe, licence."""
    text = _card(config, layout, quality)
    (folder / CARD_FILE).write_text(text, encoding="utf-8")


def _card(config: FastVLMConfig, layout: str, quality: Quality | None) -> str:
    name = config.source.rpartition("/")[2] or "FastVLM"
    return "\n".join(
        [
            *_front_matter(config),
            f"# {name} for MLX",
            "",
            _changes(config),
            "",
            f"- Layout: {_LAYOUTS[layout]}.",
            f"- Weights: {_recipe(config.quantization)}.",
            f"- Licence: {config.license or 'that of the original'}; see NOTICE"
            " and, where the original has one, LICENSE.",
            *_quality(quality),
            "",
        ]
    )


def _front_matter(config: FastVLMConfig) -> list[str]:
    """Keys that the Hugging Face hub reads (its model card metadata)."""
    lines = ["---", "library_name: mlx", "pipeline_tag: image-text-to-text"]
    if config.license:
        lines += ["license: other", f"license_name: {config.license}"]
    if config.source.count("/") == 1:
        lines.append(f"base_model: {config.source}")
    return [*lines, "tags: [fastvlm, mlx]", "---", ""]


def _changes(config: FastVLMConfig) -> str:
    return (
        f"These weights are a modified form of {config.source or 'a checkpoint'}, "
        "made by fastvlm-mlx: training branches, BatchNorm, layer scales and other "
        "constants were folded into neighbouring weights"
        + (", and matrices were quantized" if config.quantization else "")
        + "."
    )


def _recipe(quantization: QuantizationConfig | None) -> str:
    if quantization is None:
        return "nothing is quantized"
    others = sorted({_bits(each) for each in quantization.layers.values()})
    more = f"; single layers in {', '.join(others)}" if others else ""
    return f"quantized layers in {_bits(quantization)}{more}"


def _quality(quality: Quality | None) -> list[str]:
    if quality is None:
        return []
    return [
        "- Against the same model at full precision, on "
        f"{quality.samples} built-in questions about drawn images: KL divergence "
        f"{quality.kl_divergence:.2g} nats per token, same first choice at "
        f"{quality.top1_agreement:.1%} of {quality.positions} positions, perplexity "
        f"times {quality.perplexity_ratio:.4g}."
    ]


def _bits(packing: Packing) -> str:
    return f"{packing.bits} bits ({packing.mode}, groups of {packing.group_size})"
