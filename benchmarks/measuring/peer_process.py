"""One peer in a process and an interpreter of its own; started by `benchmarks.peers`.

It imports nothing of ours, so that MLX's BLAS and malloc are what the peer's users
have; only where a BLAS is asked for, the one file that gives it to MLX is run. A
request is a line of JSON, and so is its answer: the seconds that a job took, or the
error that it ended with. Weights are random, of the sizes in the request.
"""

import argparse
import io
import json
import runpy
import sys
import time
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

Job = Callable[[], object]


@cache
def mlx() -> SimpleNamespace:
    """MLX, imported in this process only."""
    import mlx.core
    import mlx.nn
    import mlx.utils

    return SimpleNamespace(mx=mlx.core, nn=mlx.nn, utils=mlx.utils)


def fill(module: Any, dtype: str, bits: int) -> None:
    """Random weights, packed in groups of 64 where `bits` is not 0."""
    lib = mlx()
    kind = getattr(lib.mx, dtype)

    def random(array: Any) -> Any:
        return (0.02 * lib.mx.random.normal(array.shape)).astype(kind)

    module.update(lib.utils.tree_map(random, module.parameters()))
    module.eval()
    if bits:
        lib.nn.quantize(module, group_size=64, bits=bits)
    lib.mx.eval(module.parameters())


@cache
def mlx_vlm_model(text: str, dtype: str, bits: int) -> Any:
    """Tower and projector as they are stored, the language model packed."""
    from mlx_vlm.models.fastvlm import Model, ModelConfig, TextConfig, VisionConfig

    known = TextConfig.__dataclass_fields__
    fields = {k: v for k, v in json.loads(text).items() if k in known}
    model = Model(ModelConfig(TextConfig(**fields), VisionConfig()))
    fill(model.vision_tower, dtype, 0)
    fill(model.language_model, dtype, bits)
    for layer in model.mm_projector:
        if layer.parameters():
            fill(layer, dtype, 0)
    return model


@cache
def mlx_lm_model(text: str, dtype: str, bits: int) -> Any:
    """Packed, as mlx-lm runs it."""
    from mlx_lm.models.qwen2 import Model, ModelArgs

    model = Model(ModelArgs.from_dict(json.loads(text)))
    fill(model, dtype, bits)
    return model


class MlxVlm:
    """mlx-vlm's FastVLM."""

    def encode(self, request: dict[str, Any]) -> Job:
        """One picture through the tower."""
        mx = mlx().mx
        tower = self._of(request).vision_tower
        shape = (1, request["side"], request["side"], 3)
        pixels = mx.random.uniform(shape=shape).astype(getattr(mx, request["dtype"]))
        return lambda: mx.eval(tower(pixels)[1])

    def prefill(self, request: dict[str, Any]) -> Job:
        """A prompt of text to its first token."""
        ids = mlx().mx.arange(request["positions"])[None]
        return lambda: next(self._tokens(request, ids, None))

    def decode(self, request: dict[str, Any]) -> Job:
        """Tokens after the first, which is not timed."""
        ids = mlx().mx.arange(request["positions"])[None]
        return later_tokens(self._tokens(request, ids, None), request["tokens"])

    def first_token(self, request: dict[str, Any]) -> Job:
        """A picture file in, a token out."""
        from mlx_vlm.models.fastvlm.processing import FastVLMImageProcessor
        from PIL import Image

        mx, side = mlx().mx, request["side"]
        square = {"height": side, "width": side}
        processor = FastVLMImageProcessor(
            size={"shortest_edge": side},
            crop_size=square,
            image_mean=[0.0] * 3,
            image_std=[1.0] * 3,
        )
        before, after = list(range(14)), list(range(14, 24))
        ids = mx.array([[*before, -200, *after]])

        def run() -> object:
            image = Image.open(io.BytesIO(bytes.fromhex(request["picture"])))
            pixels = processor.preprocess([image])["pixel_values"]
            return next(self._tokens(request, ids, mx.array(pixels)))

        return run

    def _tokens(self, request: dict[str, Any], ids: Any, pixels: Any) -> Any:
        from mlx_vlm.generate.ar import generate_step

        model = self._of(request)
        return generate_step(ids, model, pixels, None, max_tokens=10**4)

    def _of(self, request: dict[str, Any]) -> Any:
        text = json.dumps(request["text"])
        return mlx_vlm_model(text, request["dtype"], request["bits"])


class MlxLm:
    """mlx-lm's Qwen2 and its generate_step."""

    def prefill(self, request: dict[str, Any]) -> Job:
        """A prompt of text to its first token."""
        return lambda: next(self._tokens(request))

    def decode(self, request: dict[str, Any]) -> Job:
        """Tokens after the first, which is not timed."""
        return later_tokens(self._tokens(request), request["tokens"])

    def _tokens(self, request: dict[str, Any]) -> Any:
        from mlx_lm.generate import generate_step

        text = json.dumps(request["text"])
        model = mlx_lm_model(text, request["dtype"], request["bits"])
        return generate_step(mlx().mx.arange(request["positions"]), model)


def later_tokens(tokens: Any, count: int) -> Job:
    """A job of so many tokens; the first ones come before it, untimed."""
    for _ in range(2):  # the next one is computed while the last one is handed over
        next(tokens)

    def run() -> None:
        for _ in range(count):
            next(tokens)

    return run


PEERS = {"mlx-vlm": MlxVlm, "mlx-lm": MlxLm}


def answer(peer: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Do one job, and say what it took."""
    try:
        job = getattr(peer, request["job"])(request)
        start = time.perf_counter()
        job()
        return {"seconds": time.perf_counter() - start}
    except Exception as error:  # whatever a peer may raise is news for the parent
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Serve jobs until the parent closes the pipe."""
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--blas", help="our blas.py, to run after MLX")
    arguments = parser.parse_args()
    answers, sys.stdout = sys.stdout, sys.stderr  # peers print as they like
    if arguments.blas:
        mlx()
        runpy.run_path(arguments.blas)["load"]()
    peer = PEERS[arguments.peer]()
    for line in sys.stdin:
        print(json.dumps(answer(peer, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
