"""Predicted and measured peak memory: `python -m benchmarks.memory [--full]`.

Random weights; what MLX holds at most from the picture to the second token, beside
what `fastvlm_mlx.plan` says from the sizes. `--full` adds the 0.5B geometry, which
takes 4 GB and a minute.
"""

import argparse
import gc
from dataclasses import dataclass, replace

from benchmarks.measuring.harness import report
from fastvlm_mlx.config import FASTVITHD, FastVLMConfig, QuantizationConfig
from fastvlm_mlx.device.backend import mx, pick_dtype
from fastvlm_mlx.device.memory import memory_size
from fastvlm_mlx.planning.budget import this_machine
from fastvlm_mlx.planning.geometry import published_config, random_model
from fastvlm_mlx.planning.memory_plan import PREFILL_STEP, Work, make_plan


@dataclass(frozen=True)
class Setting:
    """One line of the table."""

    name: str
    config: FastVLMConfig
    work: Work


def narrow(
    bits: int | None = None, hidden: int = 256, layers: int = 4, tower: int = 32
) -> FastVLMConfig:
    """A model whose activations outweigh its weights."""
    full = published_config("0.5b")
    dims = tuple(tower << stage for stage in range(5))
    vision = replace(
        FASTVITHD,
        layers=(2, 2, 2, 2, 2),
        embed_dims=dims,
        mlp_dims=tuple(4 * each for each in dims),
        hidden_size=2 * dims[-1],
    )
    text = replace(
        full.text_config,
        hidden_size=hidden,
        intermediate_size=5 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        vocab_size=8192,
    )
    quantization = None if bits is None else QuantizationConfig(bits)
    return replace(
        full, vision_config=vision, text_config=text, quantization=quantization
    )


SMALL = (
    Setting("narrow, 512x512", narrow(), Work((512, 512), 300)),
    Setting("narrow, 512x1024", narrow(), Work((512, 1024), 400)),
    Setting("narrow, 2 at 512x512", narrow(), Work((512, 512), 300, batch=2)),
    Setting("narrow, 5 views", narrow(), Work((256, 384), 400, views=5)),
    Setting("narrow, 8 bits, 512x512", narrow(bits=8), Work((512, 512), 300)),
    Setting("narrow, 1500 positions", narrow(), Work(None, 1500)),
    Setting("wider, 4 bits, 768x768", narrow(4, 384, 8, 48), Work((768, 768), 900)),
    Setting("deeper, 3000 positions", narrow(None, 256, 12), Work((256, 256), 3000)),
)

FULL = (
    Setting("0.5B, 512x512", published_config("0.5b"), Work((512, 512), 400)),
    Setting("0.5B, 1024x1024", published_config("0.5b"), Work((1024, 1024), 600)),
    Setting("0.5B, 4 bits", published_config("0.5b", 4), Work((1024, 1024), 600)),
    Setting("0.5B, 2000 positions", published_config("0.5b"), Work(None, 2000)),
)


def predicted(setting: Setting) -> int:
    """Bytes, from the sizes."""
    model = random_model(setting.config, pick_dtype())
    machine = this_machine(pick_dtype(), memory_size())
    work = setting.work
    return make_plan(setting.config, model.weights_bytes, work, machine).total


def measured(setting: Setting) -> int:
    """Bytes, of a picture encoded, its prompt read and one more token."""
    gc.collect()  # what earlier work of this process left is not of this one
    before = mx.get_active_memory()
    model = random_model(setting.config, pick_dtype())
    mx.eval(model.parameters())
    mx.clear_cache()
    mx.reset_peak_memory()
    work, width = setting.work, setting.config.text_config.hidden_size
    if work.resolution:
        shape = (work.batch * work.views, *work.resolution, 3)
        pixel_values = mx.random.uniform(shape=shape).astype(pick_dtype())
        mx.eval(model.project(model.encode_image(pixel_values)))
    for _ in range(work.batch):
        prompt = mx.random.normal((1, work.positions - 1, width), pick_dtype())
        cache = model.make_cache()
        for start in range(0, work.positions - 1, PREFILL_STEP):
            logits = model.prefill(prompt[:, start : start + PREFILL_STEP], cache)
            mx.eval(logits, [layer.state for layer in cache])
        mx.eval(model.decode(mx.array([0]), cache))
    return mx.get_peak_memory() - before


def main() -> None:
    """Print a line for each setting, and a line of JSON."""
    parser = argparse.ArgumentParser(description="Predict and measure peak memory.")
    parser.add_argument("--full", action="store_true", help="the 0.5B geometry too")
    settings = SMALL + (FULL if parser.parse_args().full else ())
    results = {}
    for setting in settings:
        said, found = predicted(setting), measured(setting)
        results[setting.name] = {"predicted": said, "measured": found}
        print(
            f"{setting.name:28} predicted {said / 1e6:8.1f} MB   measured "
            f"{found / 1e6:8.1f} MB   {100 * (said / found - 1):+5.1f} %",
            flush=True,
        )
    report("memory", results)


if __name__ == "__main__":
    main()
