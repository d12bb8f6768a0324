"""Programs that measure fastvlm_mlx, and the small model they can be run with."""

from fastvlm_mlx.device.setup import configure

configure()  # as `load` does: most of them build their networks themselves
