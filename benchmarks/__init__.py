"""Programs that measure fastvlm_mlx, and the small model they can be run with.

Every module here is a program (`python -m benchmarks.NAME`), and so are some packages.
What several of them measure with is in `measuring`.
"""

import os

from fastvlm_mlx.device.setup import configure

# Times are those of long runs, with kernels compiled.
os.environ.setdefault("FASTVLM_MLX_COMPILE", "1")
configure()  # as `load` does: most of them build their networks themselves
