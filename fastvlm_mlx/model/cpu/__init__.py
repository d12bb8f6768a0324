"""Operations in the form that is fast on MLX's CPU backend.

There a grouped conv is a plain loop, erf and exp are scalar code, while a float32
matmul runs on BLAS. Each form here means what the MLX operation of its name means and
is tested against it; `ops.py` chooses, and the model does not know.
"""

from .attention import attention
from .conv_ffn import conv_ffn
from .depthwise import depthwise_conv
from .gelu import gelu
from .packed import packed_matmul

__all__ = ["attention", "conv_ffn", "depthwise_conv", "gelu", "packed_matmul"]
