"""How much memory a model and its work will take, from its sizes alone.

Weights are counted; the rest is the largest set of arrays that is alive at a time, in
multiples that were measured on the CPU (`python -m benchmarks.memory`). A GPU runs the
same operations in the same order, so the multiples are taken for it too, with its
smaller numbers; on Metal they are by construction, not by measurement.

Units: bytes. Shapes: C channels of the first stage, D hidden size, I intermediate size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..config import FastVLMConfig, TextConfig, VisionConfig
from ..errors import MemoryBudgetError

Resolution = tuple[int, int]

PRECISIONS = (16, 8, 6, 4)
"""Bits per weight of the language model; 16 is not quantized."""

GROUP_SIZE = 64
"""Weights that share a scale and a bias, where nothing else is known."""

PREFILL_STEP = 2048
"""Positions of a prompt that are computed at a time, at most."""

_TALK = 512
"""Positions for words, where nothing else is asked for."""

_KV_STEP = 256
"""mlx-lm's KV cache grows by so many positions."""

_IMAGES = 48
"""Images of the first stage, (H/4, W/4, C), that take what an encode takes at most:
the tiles of its convs, the wide half of its MLP, and operations under way together."""

_SCORES = 2.5
"""Scores of the tower's attention that are alive together: before and after softmax,
and half a copy of queries, keys and values."""

_VIEWS_SHARE = 4
"""One part in so many of the memory is for all views of an image together: a large
view keeps a device busy alone, so nothing is lost where they do not fit."""

_ROWS = 4
"""Times (D + I) numbers for every position of a prefill step."""


@dataclass(frozen=True)
class Machine:
    """What decides how much the same work takes."""

    limit: int  # bytes for everything
    item_bytes: int  # of one weight or activation that is not packed
    unpacks: bool  # computes from dense weights, if they take half of the limit or less
    fused_attention: bool  # the language model's scores are never written out


@dataclass(frozen=True)
class Work:
    """The largest thing that will be asked."""

    resolution: Resolution | None  # of an image; None is text alone
    positions: int  # of one prompt with its images, and its answer
    batch: int = 1  # at a time
    prefill_step: int = PREFILL_STEP  # positions of a prompt at a time
    views: int = 1  # of that resolution, of one image

    def __str__(self) -> str:
        image = f"{self.resolution[0]}x{self.resolution[1]}" if self.resolution else ""
        views = f" in {self.views} views" if self.views > 1 else ""
        batch = f", {self.batch} at a time" if self.batch > 1 else ""
        comma = ", " if image else ""
        return f"{image}{views}{comma}{self.positions} positions{batch}"


LEAST_WORK = Work(None, _TALK)
"""What a model must have room for to be of any use; images may be small."""


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes by what they are for."""

    weights: int
    kv_cache: int
    encode: int  # activations of the vision tower
    prefill: int  # activations of the language model

    @property
    def total(self) -> int:
        """The peak; encoding is over when the prompt is read."""
        return self.weights + max(self.encode, self.kv_cache + self.prefill)


def usual_work(
    config: FastVLMConfig, size: Resolution | None = None, views: int = 1
) -> Work:
    """An image, and a short talk about it.

    Args:
        size: (H, W) in pixels; None is the checkpoint's own.

    Raises:
        ConfigError: a size that the encoder does not take.
    """
    size = size or config.vision_config.image_size
    positions = views * config.vision_config.num_tokens(size) + _TALK
    return Work(size, min(positions, config.max_length), views=views)


def mac_limit(gib: int) -> int:
    """What Metal recommends as working set on a Mac of so many GiB.

    Two thirds, from 36 GiB on three quarters: 21845 MiB of 32 GiB and 48 GiB of 64 are
    what llama.cpp's users saw (ggml-org/llama.cpp, pull request 2011 and issue 1870).
    """
    size = gib << 30
    return size * 3 // 4 if gib >= 36 else size * 2 // 3


def make_plan(
    config: FastVLMConfig, weights: int, work: Work, machine: Machine
) -> MemoryPlan:
    """Predict the peak memory of some work.

    Args:
        weights: bytes of all weights, as this machine keeps them.
    """
    encode = 0
    if work.resolution:
        one = _encode_bytes(config.vision_config, work.resolution, machine)
        encode = work.batch * views_together(config, weights, work, machine) * one
    text = config.text_config
    return MemoryPlan(
        weights,
        work.batch * _kv_bytes(text, work.positions, machine),
        encode,
        _prefill_bytes(text, work, machine),
    )


def views_together(
    config: FastVLMConfig, weights: int, work: Work, machine: Machine
) -> int:
    """Views of an image that go through the tower at a time: all of them, or one."""
    if work.resolution is None or work.views == 1:
        return 1
    one = _encode_bytes(config.vision_config, work.resolution, machine)
    room = min(machine.limit // _VIEWS_SHARE, machine.limit - weights)
    return work.views if work.views * one <= room else 1


def check(
    config: FastVLMConfig, weights: int, work: Work, machine: Machine
) -> MemoryPlan:
    """Refuse work that does not fit, and name settings that would.

    Returns:
        What it takes.

    Raises:
        MemoryBudgetError: with what is needed, the limit, and what would fit.
    """
    plan = make_plan(config, weights, work, machine)
    if plan.total <= machine.limit:
        return plan
    raise MemoryBudgetError(
        f"{_amount(plan.total)} of memory are needed for {work} "
        f"(weights {_amount(plan.weights)}, KV cache {_amount(plan.kv_cache)}, encoder "
        f"{_amount(plan.encode)}, prompt {_amount(plan.prefill)}); the limit is "
        f"{_amount(machine.limit)}. {_advice(config, weights, work, machine)}"
    )


def fit_together(plans: Sequence[MemoryPlan], limit: int) -> bool:
    """Whether work fits that is done at the same time.

    All KV caches are there at once; images are encoded and prompts read in turn.
    """
    kept = plans[0].weights + sum(plan.kv_cache for plan in plans)
    return kept + max(max(plan.encode, plan.prefill) for plan in plans) <= limit


def precision_bytes(
    config: FastVLMConfig, whole: int, bits: int, machine: Machine
) -> int:
    """Bytes of all weights with the language model's matrices in so many bits.

    Args:
        whole: bytes of all weights with nothing quantized.
    """
    matrices = _matrix_weights(config.text_config)
    scales = 2 * machine.item_bytes / GROUP_SIZE
    packed = whole - int(matrices * (machine.item_bytes - bits / 8 - scales))
    dense = machine.unpacks and matrices * machine.item_bytes <= machine.limit // 2
    return whole if bits == 16 or dense else packed


def _encode_bytes(config: VisionConfig, size: Resolution, machine: Machine) -> int:
    stem = size[0] * size[1] // 16
    peaks = [_IMAGES * stem * config.embed_dims[0]]
    for index, mixer in enumerate(config.token_mixers):
        tokens = stem >> (2 * index)
        if mixer == "attention":
            heads = config.embed_dims[index] // config.head_dim
            peaks.append(int(_SCORES * heads * tokens * tokens))
    return machine.item_bytes * max(peaks)


def _kv_bytes(config: TextConfig, positions: int, machine: Machine) -> int:
    room = -(-positions // _KV_STEP) * _KV_STEP
    width = config.num_key_value_heads * config.head_width
    return machine.item_bytes * 2 * config.num_hidden_layers * width * room


def _prefill_bytes(config: TextConfig, work: Work, machine: Machine) -> int:
    step = min(work.positions, work.prefill_step)
    rows = _ROWS * step * (config.hidden_size + config.intermediate_size)
    scores = 0
    if not machine.fused_attention:
        scores = config.num_attention_heads * _most_scores(work.positions, step)
    return machine.item_bytes * (rows + scores)


def _most_scores(positions: int, step: int) -> int:
    """Scores of one head in the step that has most: positions read times those seen.

    Every whole step sees more than the one before it, so it is the last whole one, or
    the rest after it, which is shorter and sees all.
    """
    rest = positions % step
    return max(step * (positions - rest), rest * positions)


def _matrix_weights(config: TextConfig) -> int:
    """Weights of the language model that can be quantized."""
    hidden, width = config.hidden_size, config.head_width
    attention = config.num_attention_heads + config.num_key_value_heads
    layer = 2 * hidden * width * attention + 3 * hidden * config.intermediate_size
    outer = config.vocab_size * hidden * (1 if config.tie_word_embeddings else 2)
    return config.num_hidden_layers * layer + outer


def _advice(config: FastVLMConfig, weights: int, work: Work, machine: Machine) -> str:
    """Which single changes would fit, or else all of them together."""

    def fits(weights: int, work: Work) -> bool:
        return make_plan(config, weights, work, machine).total <= machine.limit

    packed = {f"{bits} bits": each for bits, each in _packed(config, weights, machine)}
    found = [text for text, each in packed.items() if fits(each, work)][:1]
    for changes in _smaller(config, work):
        found += [text for text, smaller in changes if fits(weights, smaller)][:1]
    if found:
        return f"Any of these would fit: {', '.join(found)}."
    last = [changes[-1] for changes in _smaller(config, work) if changes]
    if fits(min([weights, *packed.values()]), _all_of(work, last)):
        together = [*packed][-1:] + [text for text, _ in last]
        return f"Together these would fit: {', '.join(together)}."
    return "No setting of this model fits; choose a smaller model or a larger machine."


def _packed(
    config: FastVLMConfig, weights: int, machine: Machine
) -> Iterator[tuple[int, int]]:
    """Bits and bytes of a model that is not quantized yet."""
    if config.quantization is None:
        for bits in PRECISIONS[1:]:
            yield bits, precision_bytes(config, weights, bits, machine)


def _smaller(config: FastVLMConfig, work: Work) -> list[list[tuple[str, Work]]]:
    """Changes that make work smaller by kind, the mildest of each kind first."""
    sizes = _resolutions(config.vision_config, work.resolution)
    batches = {work.batch // 2, 1} - {0, work.batch}
    lengths = [each for each in (4096, 2048, 1024, 512) if each < work.positions]
    return [
        [(f"resolution {h}x{w}", replace(work, resolution=(h, w))) for h, w in sizes],
        [
            (f"a batch of {each}", replace(work, batch=each))
            for each in sorted(batches)[::-1]
        ],
        [(f"a context of {each}", replace(work, positions=each)) for each in lengths],
    ]


def _all_of(work: Work, changes: list[tuple[str, Work]]) -> Work:
    works = [work, *(changed for _, changed in changes)]
    return replace(
        work,
        resolution=min(
            (each.resolution for each in works if each.resolution), default=None
        ),
        positions=min(each.positions for each in works),
        batch=min(each.batch for each in works),
    )


def _resolutions(config: VisionConfig, size: Resolution | None) -> Iterator[Resolution]:
    """The same shape at three quarters, half and a quarter of the sides."""
    if size is None:
        return
    for quarters in (3, 2, 1):
        sides = [side * quarters // 4 // config.stride * config.stride for side in size]
        if min(sides):
            yield sides[0], sides[1]


def _amount(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
