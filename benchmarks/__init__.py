"""Programs that measure fastvlm_mlx, and the small model they can be run with."""
