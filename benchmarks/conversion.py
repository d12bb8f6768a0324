"""Time and memory of one conversion: `python -m benchmarks.conversion [FOLDER]`.

Without FOLDER a checkpoint in Apple's layout is made first: the true geometry of
FastVLM-0.5B (FastViTHD, 24 layers of 896, an untied head), random weights in bfloat16,
and the tokenizer of the embedded nano. The conversion runs in a process of its own,
whose largest resident size is what the system says of it.
"""

import argparse
import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mlx.utils import tree_flatten

import fastvlm_mlx
from benchmarks.measuring.harness import report
from convert.mlx_vlm import as_mlx_vlm
from fastvlm_mlx.config import FASTVITHD, FastVLMConfig, TextConfig
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model.fastvlm import FastVLMModel

QWEN2_05B = TextConfig("qwen2", 896, 24, 4864, 14, 2, 151936)
TOKENIZER = Path(fastvlm_mlx.__file__).parent / "assets" / "nano"

_APPLE = (
    ("vision_tower.vision_model.", "model.vision_tower.vision_tower.model."),
    ("mm_projector.", "model.mm_projector."),
    ("language_model.lm_head.", "lm_head."),
    ("language_model.", ""),
)


def make_checkpoint(folder: Path, text: TextConfig) -> None:
    """Write random weights in Apple's layout."""
    config = FastVLMConfig(FASTVITHD, text, 767, (766,), 2048)
    shapes: dict[str, mx.array] = dict(tree_flatten(FastVLMModel(config).parameters()))
    weights = {name: _draw(name, array) for name, array in shapes.items()}
    named = as_mlx_vlm(weights, config).items()
    apple = {_apple_name(name): _apple_axes(name, array) for name, array in named}
    for name, array in apple.items():
        apple[name] = array.astype(mx.bfloat16)
    mx.save_safetensors(str(folder / "model.safetensors"), apple)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / file, folder)
    values = {**vars(text), "model_type": "llava_qwen2", "mm_hidden_size": 3072}
    (folder / "config.json").write_text(json.dumps(values), "utf-8")


def _draw(name: str, array: mx.array) -> mx.array:
    if array.ndim == 1:
        return mx.ones_like(array) if "norm" in name else mx.zeros_like(array)
    fan_in = array.size // array.shape[0]
    drawn: mx.array = mx.random.normal(array.shape) * (0.5 * fan_in**-0.5)
    return drawn


def _apple_name(name: str) -> str:
    for theirs, apple in _APPLE:
        if name.startswith(theirs):
            name = apple + name.removeprefix(theirs)
            break
    return name.replace("patch_embed.blocks.", "patch_embed.")


def _apple_axes(name: str, array: mx.array) -> mx.array:
    if array.ndim == 4:
        return array.transpose(0, 3, 1, 2)
    return array.transpose(2, 0, 1) if re.search("layer_scale", name) else array


def measure(source: Path, output: Path, options: list[str]) -> dict[str, float]:
    """Seconds and the largest resident size, in GB, of a conversion."""
    words = ["-m", "fastvlm_mlx", "convert", str(source), str(output), "--overwrite"]
    start = time.perf_counter()
    subprocess.run([sys.executable, *words, *options], check=True, stdout=sys.stderr)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes here
    return {"seconds": seconds, "peak_gb": peak * unit / 1e9}


def main() -> None:
    """Make a checkpoint if none is given, convert it, say what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--options", default="", help="of convert, in one text")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        source = arguments.folder or Path(temporary) / "source"
        if arguments.folder is None:
            source.mkdir()
            make_checkpoint(source, QWEN2_05B)
        options = arguments.options.split()
        report("conversion", measure(source, Path(temporary) / "out", options))


if __name__ == "__main__":
    main()
