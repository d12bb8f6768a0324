"""How long a model takes to the first token in a setting, on this machine.

Encoder, projector, and the prefill of the visual tokens and a short question. Decoding
the file is left out, since it depends on the file. Tiles are encoded one after another.
"""

from collections.abc import Sequence

from benchmarks.curve.setting import Setting
from benchmarks.measuring.harness import Job, time_in_turn
from fastvlm_mlx import FastVLM
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model.fastvlm import FastVLMModel
from fastvlm_mlx.planning.measure import WORDS


def first_token_seconds(
    vlm: FastVLM, settings: Sequence[Setting], runs: int
) -> list[float]:
    """Medians of runs taken in turn, after one to warm up."""
    jobs = {
        str(setting): first_token_job(vlm.engine.model, setting) for setting in settings
    }
    times = time_in_turn(jobs, runs)
    return [times[str(setting)] for setting in settings]


def first_token_job(model: FastVLMModel, setting: Setting) -> Job:
    """The work from pixels to the first token."""
    shape = (1, setting.side, setting.side, 3)
    pixel_values = mx.random.uniform(shape=shape).astype(model.embed_dtype)

    def run() -> None:
        seen = [_encode(model, pixel_values) for _ in range(setting.pictures)]
        prompt = mx.concatenate([*seen, model.embed([0] * WORDS)], axis=1)
        mx.eval(model.prefill(prompt, model.make_cache()).argmax())

    return run


def _encode(model: FastVLMModel, pixel_values: mx.array) -> mx.array:
    """(1, side, side, 3) -> (1, N, D), computed."""
    embeds = model.project(model.encode_image(pixel_values))
    mx.eval(embeds)
    return embeds
