"""What each compared method does with one picture: encoders, tiles, tokens, decoder.

`latency` is the paper's own measurement (arXiv 2412.13303, table 10; FastViT's encoder:
table 1): a MacBook Pro with M1 Max, the encoder in Core ML on the neural engine, the
prefill of the visual tokens in MLX in float16. Token reductions have no latency there,
nor do the systems that its related work names.
"""

from dataclasses import dataclass

from benchmarks.paper.decoders import DECODERS
from benchmarks.paper.encoders.catalogue import ENCODERS
from fastvlm_mlx.planning.published import PAPER


@dataclass(frozen=True)
class Latency:
    """The paper's figures for one row, in ms."""

    encode: float
    prefill: float | None
    whole: float | None = None  # where table 6 differs from the sum

    @property
    def ttft(self) -> float:
        """Time to first token: text, projector and sampling are not counted."""
        return self.whole or self.encode + (self.prefill or 0.0)


@dataclass(frozen=True)
class View:
    """`count` square pictures through one encoder, at `stride` pixels per token."""

    encoder: str
    side: int
    count: int = 1
    stride: int | None = None  # where the method pools or adds a stage

    @property
    def tokens(self) -> int:
        """Tokens of all `count`."""
        stride = self.stride or ENCODERS[self.encoder].stride
        return self.count * (self.side // stride) ** 2


@dataclass(frozen=True)
class Method:
    """A way from a picture to the decoder's KV cache."""

    name: str
    views: tuple[View, ...]
    decoder: str | None  # None: not published
    projector: str
    against: str  # the row of FastVLM that it is set beside
    latency: Latency | None = None
    kept: int | None = None  # tokens after a reduction; otherwise those of all views

    @property
    def tokens(self) -> int:
        """Visual tokens that the decoder reads."""
        return self.kept or sum(view.tokens for view in self.views)

    @property
    def encoder_parameters(self) -> int:
        """Of all its encoders, each counted once."""
        names = {view.encoder for view in self.views}
        return sum(ENCODERS[name].parameters for name in names)

    @property
    def projector_parameters(self) -> int | None:
        """Of an MLP of two layers; None where the projector is another network."""
        if self.projector != MLP or self.decoder is None:
            return None
        inputs = ENCODERS[self.views[0].encoder].width
        width = DECODERS[self.decoder].hidden_size
        return inputs * width + width + width * width + width


MLP = "mlp2x_gelu"

FASTVLM_05 = "FastVLM Qwen2-0.5B 1024"
FASTVLM_15 = "FastVLM Qwen2-1.5B 1024"
FASTVLM_7 = "FastVLM Qwen2-7B 1024"


def _fastvlm(
    decoder: str, side: int, latency: Latency | None, tiles: int = 1
) -> Method:
    label = str(side) if tiles == 1 else f"{2 * side} AnyRes 2x2"
    name = f"FastVLM {decoder} {label}"
    view = View("FastViTHD", side, tiles)
    against = f"FastVLM {decoder} 1024"
    return Method(name, (view,), decoder, MLP, against, latency)


def _at_1024(size: str) -> Latency:
    """What the runtime shows beside its own times, too."""
    found = PAPER[size]
    assert found.encode is not None
    return Latency(found.encode, found.prefill)


def _llava(
    name: str,
    encoder: str,
    side: int,
    latency: Latency | None,
    *,
    against: str,
    stride: int | None = None,
    projector: str = MLP,
    kept: int | None = None,
) -> Method:
    """One encoder, one picture, Vicuna-7B."""
    view = View(encoder, side, stride=stride)
    return Method(name, (view,), "Vicuna-7B", projector, against, latency, kept)


def _pruned(name: str, kept: int, side: int) -> Method:
    """LLaVA-1.5 whose 576 tokens are reduced, beside FastVLM of about as many."""
    against = f"FastVLM Vicuna-7B {side}"
    label = f"{name}, {kept} tokens"
    return _llava(label, "ViT-L/14", 336, None, against=against, kept=kept)


OF_FASTVLM = (
    _fastvlm("Qwen2-0.5B", 1024, _at_1024("0.5b")),
    _fastvlm("Qwen2-0.5B", 1024, Latency(581.5, 336.4), tiles=5),
    _fastvlm("Qwen2-1.5B", 768, Latency(54.8, 97.1)),
    _fastvlm("Qwen2-1.5B", 1024, _at_1024("1.5b")),
    _fastvlm("Qwen2-1.5B", 1024, Latency(581.5, 681.7), tiles=5),
    _fastvlm("Vicuna-7B", 256, Latency(6.8, 143.4)),
    _fastvlm("Vicuna-7B", 512, None),  # tables 4 and 5 only
    _fastvlm("Vicuna-7B", 768, Latency(54.8, 332.1)),
    _fastvlm("Vicuna-7B", 1024, Latency(116.3, 461.1)),
    _fastvlm("Qwen2-7B", 768, Latency(54.8, 391.2)),
    _fastvlm("Qwen2-7B", 1024, _at_1024("7b")),
    _fastvlm("Qwen2-7B", 1024, Latency(581.5, 3139.5), tiles=5),
)

OF_OTHERS = (
    Method(
        "nanoLLaVA",
        (View("SigLIP-SO400M", 384),),
        "Qwen1.5-0.5B",
        MLP,
        FASTVLM_05,
        Latency(272.1, 263.3),
    ),
    Method(  # 3x3 tiles and an overview
        "LLaVA-OneVision 0.5B",
        (View("SigLIP-SO400M", 384, count=10),),
        "Qwen2-0.5B",
        MLP,
        FASTVLM_05,
        Latency(2721.4, 11402.4),
    ),
    Method(  # LDPv2 pools 2x2; table 10 has as its prefill what table 6 has as TTFT
        "MobileVLMv2 1.7B",
        (View("ViT-L/14", 336, stride=28),),
        "MobileLLaMA-1.4B",
        "LDPv2",
        FASTVLM_15,
        Latency(127.4, None, whole=458.0),
    ),
    Method(  # 2x2 tiles and an overview of 672 pixels, 144 tokens each
        "MM1",
        (View("ViT-H/14", 672, count=5, stride=56),),
        None,
        "C-Abstractor",
        "FastVLM Qwen2-1.5B 768",
    ),
    Method(  # 32 queries; arXiv 2304.10592
        "MiniGPT-4 7B",
        (View("ViT-g/14", 224),),
        "Vicuna-7B",
        "Q-Former",
        "FastVLM Vicuna-7B 512",
        kept=32,
    ),
    Method(  # 64 queries, and LLaMA-7B, which has Vicuna's sizes; arXiv 2304.14178
        "mPLUG-Owl 7B",
        (View("ViT-L/14", 224),),
        "Vicuna-7B",
        "abstractor",
        "FastVLM Vicuna-7B 512",
        kept=64,
    ),
    Method(  # folds 2x2 tokens into one
        "InternVL2-1B 448",
        (View("InternViT-300M", 448, stride=28),),
        "Qwen2-0.5B",
        "folding MLP",
        FASTVLM_05,
    ),
    Method(  # what its tiling makes of 1024x1024: 3x3 tiles and an overview
        "InternVL2-1B 3x3 tiles",
        (View("InternViT-300M", 448, count=10, stride=28),),
        "Qwen2-0.5B",
        "folding MLP",
        FASTVLM_05,
    ),
    _llava(  # ConvLLaVA's fifth stage halves once more; the paper counts four stages
        "ConvLLaVA 768",
        "ConvNeXt-L",
        768,
        Latency(164.3, 332.1),
        against="FastVLM Vicuna-7B 768",
        stride=64,
    ),
    _llava(
        "ConvLLaVA 1024",
        "ConvNeXt-L",
        1024,
        Latency(696.1, 461.1),
        against="FastVLM Vicuna-7B 1024",
        stride=64,
    ),
    _llava(
        "ConvLLaVA 1536",
        "ConvNeXt-L",
        1536,
        Latency(1569.7, 1170.0),
        against="FastVLM Vicuna-7B 1024",
        stride=64,
    ),
    _llava(
        "LLaVA-1.5",
        "ViT-L/14",
        336,
        Latency(127.4, 1170.0),
        against="FastVLM Vicuna-7B 1024",
    ),
    _llava(
        "LLaVA-1.5 with FastViT 256",
        "FastViT MCi2",
        256,
        None,  # table 1 has its encoder alone, 3.0 ms
        against="FastVLM Vicuna-7B 512",
    ),
    _llava(
        "LLaVA-1.5 with FastViT 768",
        "FastViT MCi2",
        768,
        Latency(34.5, 1170.0),
        against="FastVLM Vicuna-7B 768",
    ),
    Method(  # 2x2 tiles and an overview
        "LLaVA-NeXT 8B",
        (View("ViT-L/14", 336, count=5),),
        "Llama-3-8B",
        MLP,
        FASTVLM_7,
        Latency(637.0, 19709.7),
    ),
    Method(  # 24x24 queries of its spatial aggregator ask all four encoders
        "Cambrian-1 8B",
        (
            View("SigLIP-SO400M", 384),
            View("ConvNeXt-XXL", 1024),
            View("DINOv2-L", 518),
            View("ViT-L/14", 336),
        ),
        "Llama-3-8B",
        "SVA",
        FASTVLM_7,
        Latency(3861.4, 1223.6),
        kept=576,
    ),
)

OF_REDUCTION = (
    _pruned("Matryoshka M3", 9, 256),
    _pruned("Matryoshka MQT", 16, 256),
    _pruned("PruMerge", 40, 512),
    _pruned("Matryoshka M3", 36, 512),
    _pruned("VisionZip", 64, 512),
    _pruned("Matryoshka M3", 144, 768),
    _pruned("Matryoshka MQT", 144, 768),
    _pruned("VisionZip", 192, 768),
    _pruned("Matryoshka MQT", 256, 1024),
)

ENCODERS_ALONE = (
    View("ViT-g/14", 224),
    View("EVA-02-L/14", 336),
    View("ViT-H/14", 378),
    View("InternViT-300M", 448),
)
"""Named by the paper among its rivals' encoders, each at the side it was trained at."""

METHODS: dict[str, Method] = {
    method.name: method for method in (*OF_FASTVLM, *OF_OTHERS, *OF_REDUCTION)
}
