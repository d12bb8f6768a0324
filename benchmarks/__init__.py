"""Programs that measure fastvlm_mlx, and the small model they can be run with."""

from fastvlm_mlx import backend as backend  # OpenBLAS before anything imports MLX
