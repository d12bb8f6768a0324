"""The paper's headline claims, each as two rows and what is divided by what."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from benchmarks.paper.methods import FASTVLM_05, FASTVLM_7, METHODS, Method

Counted = Literal["ttft", "tokens", "parameters"]


@dataclass(frozen=True)
class Headline:
    """`other` ÷ `fastvlm`, or the share that FastVLM saves of `other`."""

    claim: str
    published: float
    counted: Counted
    other: str
    fastvlm: str
    saving: bool = False

    def value(self, ttft: Mapping[str, float]) -> float | None:
        """What comes out here, if both rows were measured.

        Args:
            ttft: seconds (or ms) by row.
        """
        if self.counted == "ttft":
            if not {self.other, self.fastvlm} <= ttft.keys():
                return None
            pair = ttft[self.other], ttft[self.fastvlm]
        else:
            pair = self._count(METHODS[self.other]), self._count(METHODS[self.fastvlm])
        return 1 - pair[1] / pair[0] if self.saving else pair[0] / pair[1]

    def how(self) -> str:
        """The division in words."""
        what = {"ttft": "TTFT", "tokens": "tokens", "parameters": "encoder parameters"}
        if self.saving:
            return f"1 - {what[self.counted]} of {self.fastvlm} ÷ {self.other}"
        return f"{what[self.counted]} of {self.other} ÷ {self.fastvlm}"

    def _count(self, method: Method) -> float:
        return method.tokens if self.counted == "tokens" else method.encoder_parameters


HEADLINES = (
    Headline("85x faster", 85, "ttft", "LLaVA-OneVision 0.5B", FASTVLM_05),
    Headline("7.9x faster", 7.9, "ttft", "Cambrian-1 8B", FASTVLM_7),
    Headline("3.2x faster", 3.2, "ttft", "nanoLLaVA", FASTVLM_05),
    Headline("2x faster", 2.0, "ttft", "ConvLLaVA 1024", "FastVLM Vicuna-7B 1024"),
    Headline(
        "22 % faster", 0.22, "ttft", "ConvLLaVA 768", "FastVLM Vicuna-7B 768", True
    ),
    Headline(
        "3.4x smaller encoder", 3.4, "parameters", "LLaVA-OneVision 0.5B", FASTVLM_05
    ),
    Headline("5x fewer tokens", 5, "tokens", "MM1", "FastVLM Qwen2-1.5B 768"),
    Headline(
        "4x fewer tokens",
        4,
        "tokens",
        "LLaVA-1.5 with FastViT 768",
        "FastVLM Vicuna-7B 768",
    ),
    Headline("2.3x fewer tokens", 2.3, "tokens", "Cambrian-1 8B", FASTVLM_7),
)


def published_ttft() -> dict[str, float]:
    """The paper's own times by row, in ms."""
    return {
        name: method.latency.ttft for name, method in METHODS.items() if method.latency
    }
