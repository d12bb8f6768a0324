"""DINOv2 ViT-L/14 at 518 pixels (arXiv 2304.07193), one of Cambrian-1's encoders."""

from benchmarks.paper.encoders.vit import ViTConfig

DINOV2_L_518 = ViTConfig(
    side=518,
    width=1024,
    depth=24,
    heads=16,
    hidden=4096,
    layer_scale=True,
)
