"""SigLIP-SO400M/14 at 384 pixels: nanoLLaVA, LLaVA-OneVision, Cambrian-1.

A ViT of the shape found optimal for its compute (arXiv 2305.13035), trained with a
sigmoid loss (arXiv 2303.15343). 27 patches a side: 384 is not a multiple of 14, and six
pixels at two edges are not seen.
"""

from benchmarks.paper.encoders.vit import ViTConfig

SO400M_384 = ViTConfig(
    side=384,
    width=1152,
    depth=27,
    heads=16,
    hidden=4304,
    class_token=False,
    attention_pool=True,
    activation="tanh_gelu",
)
