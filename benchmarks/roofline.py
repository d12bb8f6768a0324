"""Predicted times on Macs nobody here has: `python -m benchmarks.roofline`.

Predictions, not measurements. A part takes the longer of its arithmetic and its memory
traffic (`fastvlm_mlx.planning.cost`, masked scores counted), at an assumed share of the
published peaks.
Starting kernels is not in it, which makes decoding on the large chips look too good.
Below a chip stands what others measured on it, named as theirs.
"""

import argparse
from dataclasses import asdict

from benchmarks.measuring.geometry import LANGUAGE_MODELS
from benchmarks.measuring.harness import report
from benchmarks.measuring.parts import PREFIX, SUFFIX
from fastvlm_mlx.config import FASTVITHD, TextConfig
from fastvlm_mlx.planning.cost import (
    PEAKS,
    Cost,
    Peak,
    encode_cost,
    language_cost,
    least_time,
)
from fastvlm_mlx.planning.published import PUBLISHED_SIDE, Published, of_size

ARITHMETIC, BANDWIDTH = 0.7, 0.8
"""Shares of the peaks that large matmuls and long reads are assumed to reach."""

DENSE_BITS = 16


def seconds(cost: Cost, chip: Peak, weight_bytes: float) -> float:
    """The longer of arithmetic and memory, with float16 activations."""
    reached = Peak(ARITHMETIC * chip.flops, BANDWIDTH * chip.bandwidth, chip.source)
    moved = cost.bytes(2, weight_bytes)
    return least_time(cost.flops, moved, reached)


def predict(chip: Peak, config: TextConfig, side: int, bits: int) -> dict[str, float]:
    """Milliseconds of encode, prefill and both, and tokens per second after them."""
    positions = PREFIX + (side // 64) ** 2 + SUFFIX
    # a float16 scale and bias for every 64 weights that are packed
    packed = 2.0 if bits == DENSE_BITS else (bits + 0.5) / 8
    encode = seconds(encode_cost(FASTVITHD, (side, side)), chip, 2)
    prompt = language_cost(config, positions, positions, causal=False)
    prefill = seconds(prompt, chip, packed)
    step = language_cost(config, 1, positions, causal=False)
    token = seconds(step, chip, packed)
    return {
        "encode ms": 1000 * encode,
        "prefill ms": 1000 * prefill,
        "first token ms": 1000 * (encode + prefill),
        "tokens/s": 1 / token,
    }


def published(chip: str, size: str, side: int) -> list[Published]:
    """What others measured on this chip, of this size, if the side is theirs."""
    found = of_size(size.lower()) if side == PUBLISHED_SIDE else []
    return [each for each in found if each.chip == chip]


def _theirs(each: Published) -> str:
    parts = {
        "encode ms": each.encode,
        "prefill ms": each.prefill,
        "first token ms": each.first_token,
        "tokens/s": each.tokens_per_second,
    }
    known = ", ".join(f"{unit} {value:.1f}" for unit, value in parts.items() if value)
    source = f"{each.source}, {each.date}"
    return f"    MEASURED by {each.engine}: {known}; {each.how} ({source})"


def main() -> None:
    """Print a table with its assumptions, and a line of JSON."""
    parser = argparse.ArgumentParser(description="Predict times on Apple's chips.")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--size", choices=LANGUAGE_MODELS, default="0.5B")
    parser.add_argument("--bits", type=int, default=4, help="16: not quantized")
    arguments = parser.parse_args()
    print(
        f"PREDICTED, {arguments.size} at {arguments.bits} bit, {arguments.side} px, "
        f"float16, {ARITHMETIC:.0%} of peak FLOP/s and {BANDWIDTH:.0%} of bandwidth"
    )
    results = {}
    config = LANGUAGE_MODELS[arguments.size]
    for name, chip in PEAKS.items():
        found = predict(chip, config, arguments.side, arguments.bits)
        others = published(name, arguments.size, arguments.side)
        results[name] = {
            **asdict(chip),
            **found,
            "published": [asdict(each) for each in others],
        }
        peaks = f"{chip.flops / 1e12:5.1f} TFLOP/s {chip.bandwidth / 1e9:4.0f} GB/s"
        cells = [f"{unit} {value:7.1f}" for unit, value in found.items()]
        print(f"{name:14} {peaks}   " + "   ".join(cells))
        for each in others:
            print(_theirs(each))
    report("roofline", results)


if __name__ == "__main__":
    main()
