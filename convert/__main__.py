"""`python -m convert SRC OUT …` is `fastvlm-mlx convert SRC OUT …`."""

import sys

from fastvlm_mlx.cli import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
