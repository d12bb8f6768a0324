"""The language model's layers, packed one after another with a view to their inputs.

Each layer sees what the packed layers before it make of the calibration images, so
that it corrects their errors, too. One layer's second moments are held at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import mlx.nn as nn
from mlx.utils import tree_unflatten

from fastvlm_mlx.config import Packing
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model.language import causal_mask
from fastvlm_mlx.timings import Progress

from .gptq import pack_for_inputs
from .layout import Weights
from .names import LANGUAGE
from .quality import Examinee
from .questions import CALIBRATED_SAMPLES, samples


class Witness(nn.Module):
    """A Linear that sums up the second moments of what it is given."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        inputs = linear.weight.shape[1]
        self.moments = mx.zeros((inputs, inputs))

    def __call__(self, x: mx.array) -> mx.array:
        seen = x.reshape(-1, x.shape[-1]).astype(mx.float32)
        self.moments = self.moments + seen.T @ seen
        output: mx.array = self.linear(x)
        return output


def calibrate(
    examinee: Examinee,
    weights: Weights,
    chosen: Mapping[str, Packing],
    progress: Progress,
) -> dict[str, Weights]:
    """Pack those of the chosen matrices that are Linears in the model's layers.

    Args:
        examinee: the model at full precision; its layers are changed.
        weights: what is to be packed, in the dtype that scales are stored in.
        chosen: how to store each matrix, by name.
        progress: called with the layers done so far and in all.

    Returns:
        `weight`, `scales` and `biases` by the name of the matrix.
    """
    model = examinee.model
    streams = list(_conversations(examinee))
    layers = model.language_model.model.layers
    packed: dict[str, Weights] = {}
    for number, layer in enumerate(layers):
        prefix = f"{LANGUAGE}model.layers.{number}."
        watched = _watch(layer, streams, prefix, chosen)
        for path, witness in watched.items():
            name = f"{prefix}{path}.weight"
            packing, dtype = chosen[name], witness.linear.weight.dtype
            packed[name] = pack_for_inputs(weights[name], witness.moments, packing)
            witness.linear.weight = _unpacked(packed[name], packing, dtype)
        streams = [_run(layer, stream) for stream in streams]
        progress(number + 1, len(layers))
    return packed


def _conversations(examinee: Examinee) -> Iterator[mx.array]:
    """Prompts with images, and the model's own answers to them, (1, L, D)."""
    asked = samples("calibrate", CALIBRATED_SAMPLES)
    for embeds in examinee.embeds("calibrate", asked):
        said = examinee.answer(embeds).token_ids
        whole = mx.concatenate([embeds, examinee.model.embed(said)], axis=1)
        mx.eval(whole)
        yield whole


def _watch(
    layer: Any, streams: Sequence[mx.array], prefix: str, chosen: Mapping[str, Packing]
) -> dict[str, Witness]:
    """Run a layer over all streams, with witnesses in place of its chosen Linears."""
    linears = {
        path: module
        for path, module in layer.named_modules()
        if isinstance(module, nn.Linear) and f"{prefix}{path}.weight" in chosen
    }
    witnesses = {path: Witness(linear) for path, linear in linears.items()}
    layer.update_modules(tree_unflatten(list(witnesses.items())))
    for stream in streams:
        _run(layer, stream)
        mx.eval([witness.moments for witness in witnesses.values()])
    layer.update_modules(tree_unflatten(list(linears.items())))
    return witnesses


def _run(layer: Any, stream: mx.array) -> mx.array:
    output: mx.array = layer(stream, causal_mask(stream))
    mx.eval(output)
    return output


def _unpacked(parts: Weights, packing: Packing, dtype: mx.Dtype) -> mx.array:
    weight = mx.dequantize(
        parts["weight"],
        parts["scales"],
        parts["biases"],
        packing.group_size,
        packing.bits,
    )
    return weight.astype(dtype)
