"""InternViT-300M/14 at 448 pixels (arXiv 2410.16261), the encoder of InternVL2-1B.

A ViT-L distilled from InternViT-6B, without a norm at its end. InternVL folds 2x2
tokens into one of four times the channels.
"""

from benchmarks.paper.encoders.vit import ViTConfig

INTERNVIT_300M_448 = ViTConfig(
    side=448,
    width=1024,
    depth=24,
    heads=16,
    hidden=4096,
    layer_scale=True,
    final_norm=False,
)
