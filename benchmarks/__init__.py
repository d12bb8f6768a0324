"""Programs that measure fastvlm_mlx, and the small model they can be run with.

Every module here is a program (`python -m benchmarks.NAME`), and so are some packages.
What several of them measure with is in `measuring`.
"""

import sys
from contextlib import suppress

# Programs in which torch computes. OpenBLAS, once loaded, serves every library that
# comes after it, and torch's matmuls then wait for its threads and for their own: a
# step of nano's training took 1.13 seconds so, and 0.73 with torch loaded before.
TORCH_FIRST = {"benchmarks.encode", "benchmarks.nano.train"}
if TORCH_FIRST.intersection(sys.orig_argv):
    with suppress(ImportError):  # `encode` does without, too.
        import torch  # noqa: F401

from fastvlm_mlx import backend as backend  # noqa: E402  # OpenBLAS before MLX
