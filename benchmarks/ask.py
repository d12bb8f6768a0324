"""The next question about a picture: `python -m benchmarks.ask`.

Random weights of the 0.5B model's true geometry (FastViTHD and Qwen2-0.5B), float32 on
the CPU or the backend's own dtype, with nano's tokenizer. Each round forgets
everything, asks about a JPEG, then asks again: in the same process, and as a new
process would with `--prompt-cache`, whose loading is timed too.
"""

import argparse
import io
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measuring.harness import report
from fastvlm_mlx import FastVLM
from fastvlm_mlx.config import FASTVITHD, FastVLMConfig, TextConfig
from fastvlm_mlx.device.backend import mx, pick_dtype
from fastvlm_mlx.engine import Engine
from fastvlm_mlx.model.fastvlm import FastVLMModel
from fastvlm_mlx.planning.budget import memory_limit
from fastvlm_mlx.resolve import resolve
from fastvlm_mlx.text.tokenizer import ChatTokenizer

QWEN2_HALF_B = TextConfig(
    model_type="qwen2",
    hidden_size=896,
    num_hidden_layers=24,
    intermediate_size=4864,
    num_attention_heads=14,
    num_key_value_heads=2,
    vocab_size=151936,
    tie_word_embeddings=True,
)

QUESTIONS = ("what color is the circle?", "what shape is in the image?")

Times = dict[str, list[float]]


def open_model() -> FastVLM:
    """FastVLM-0.5B in all but its weights."""
    config = FastVLMConfig(
        vision_config=FASTVITHD,
        text_config=QWEN2_HALF_B,
        image_token_index=151646,
        eos_token_ids=(151645,),
        max_length=8192,
    )
    model = FastVLMModel(config)
    model.set_dtype(pick_dtype())
    mx.eval(model.parameters())
    tokenizer = ChatTokenizer(resolve("nano"), config)
    return FastVLM(Engine(model, tokenizer, config, memory_limit=memory_limit()))


def photo(side: int) -> bytes:
    """A JPEG with something in it everywhere."""
    noise = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 3))
    image = Image.fromarray(noise.astype(np.uint8)).resize((side, side))
    file = io.BytesIO()
    image.save(file, "jpeg", quality=90)
    return file.getvalue()


def ask(vlm: FastVLM, picture: bytes, text: str, resolution: int) -> float:
    """Seconds to the first token."""
    result = vlm.generate(picture, text, max_tokens=1, resolution=resolution)
    return result.timings.time_to_first_token


def measure(vlm: FastVLM, resolution: int, times: Times) -> None:
    """One round."""
    picture = photo(2 * resolution)
    vlm.engine.caches.clear()
    times["first"].append(ask(vlm, picture, QUESTIONS[0], resolution))
    times["next"].append(ask(vlm, picture, QUESTIONS[1], resolution))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prompt"
        vlm.save_prompt_cache(file)
        vlm.engine.caches.clear()
        start = time.perf_counter()
        vlm.load_prompt_cache(file)
        times["load file"].append(time.perf_counter() - start)
        times["next from file"].append(ask(vlm, picture, QUESTIONS[0], resolution))


def main() -> None:
    """Print medians and minima, and a line of JSON."""
    parser = argparse.ArgumentParser(description="Time the next question.")
    parser.add_argument("--resolution", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    vlm, times = open_model(), Times()
    for name in ("first", "next", "load file", "next from file"):
        times[name] = []
    measure(vlm, arguments.resolution, {name: [] for name in times})  # to warm up
    for _ in range(arguments.runs):
        measure(vlm, arguments.resolution, times)
    medians = {name: statistics.median(each) for name, each in times.items()}
    fastest = {name: min(each) for name, each in times.items()}
    for name, seconds in medians.items():
        share, least = seconds / medians["first"], fastest[name] / fastest["first"]
        print(
            f"{name:<15}{1000 * seconds:10.1f} ms {100 * share:7.2f} % of the first; "
            f"minimum {1000 * fastest[name]:10.1f} ms {100 * least:7.2f} %"
        )
    results = {"resolution": arguments.resolution, "median": medians}
    report("ask", {**results, "minimum": fastest})


if __name__ == "__main__":
    main()
