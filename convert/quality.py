"""How far one model's answers are from another's: distributions, token by token.

The first model answers the built-in questions greedily. The second is led along the
same tokens, and at every position both distributions of the next token are compared
over the whole vocabulary. Only the first one's log-probabilities are kept (up to
32 samples x 12 positions x 151 936 tokens x 4 bytes = 233 MB), so that it can be let go
before the second is loaded.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from mlx.utils import tree_flatten

from fastvlm_mlx.config import FastVLMConfig
from fastvlm_mlx.device.backend import current, mx
from fastvlm_mlx.device.memory import host_memory
from fastvlm_mlx.errors import CheckpointError
from fastvlm_mlx.images.resize import prepare
from fastvlm_mlx.model.fastvlm import FastVLMModel
from fastvlm_mlx.model_folder import load_config, read_json
from fastvlm_mlx.text.prompt import Message
from fastvlm_mlx.text.tokenizer import ChatTokenizer
from fastvlm_mlx.timings import Progress, unreported
from fastvlm_mlx.weights import load_model

from .questions import JUDGED_SAMPLES, Sample, Set, sample_image, samples

LONGEST_ANSWER = 12  # tokens; the end token counts

STEPS = 100
"""What one of several passes counts as, whatever it is made of."""


@dataclass(frozen=True)
class Quality:
    """What a model lost against another, on the built-in questions."""

    samples: int  # questions about images
    positions: int  # next-token distributions compared
    kl_divergence: float  # nats, mean over positions; 0: nothing lost
    largest_kl: float  # nats, at the position where they differ most
    top1_agreement: float  # share of positions with the same most probable token
    perplexity_ratio: float  # of the first one's own answers; 1: nothing lost


@dataclass(frozen=True)
class Answer:
    """What the first model said to one question."""

    token_ids: tuple[int, ...]
    log_probs: mx.array  # float32 (tokens, vocabulary)


@dataclass(frozen=True)
class Examinee:
    """A model and what it needs to be asked."""

    model: FastVLMModel
    tokenizer: ChatTokenizer
    config: FastVLMConfig

    def embeds(self, of: Set, asked: Sequence[Sample]) -> Iterator[mx.array]:
        """Each sample's prompt with its image, (1, L, D); images encoded once."""
        looked_at: dict[int, mx.array] = {}
        for sample in asked:
            if sample.image not in looked_at:
                looked_at[sample.image] = self._look(of, sample.image)
            image = looked_at[sample.image]
            message = Message("user", sample.question, images=1)
            prompt = self.tokenizer.build([message], [image.shape[0]])
            yield self.model.splice(prompt.token_ids, prompt.image_spans, [image])

    def answer(
        self, inputs_embeds: mx.array, follow: Sequence[int] | None = None
    ) -> Answer:
        """Answer greedily, or along the tokens given."""
        cache = self.model.make_cache()
        logits = self.model.prefill(inputs_embeds, cache)
        token_ids: list[int] = []
        rows: list[mx.array] = []
        while True:
            rows.append(_log_softmax(logits[0]))
            token = follow[len(token_ids)] if follow else _most_probable(rows[-1])
            token_ids.append(token)
            if len(token_ids) == (len(follow) if follow else LONGEST_ANSWER):
                break
            if not follow and token in self.config.eos_token_ids:
                break
            logits = self.model.decode(mx.array([token]), cache)
        log_probs = mx.stack(rows)
        mx.eval(log_probs)
        return Answer(tuple(token_ids), log_probs)

    def _look(self, of: Set, number: int) -> mx.array:
        """An image as the language model sees it, (N, D)."""
        size = self.config.vision_config.image_size
        pixels = prepare(sample_image(of, number), size, self.config.image_mode)
        pixel_values = self.model.pixel_values(mx.array(pixels)[None])
        image = self.model.project(self.model.encode_image(pixel_values))[0]
        mx.eval(image)
        return image


def read_examinee(folder: Path, dtype: str | None) -> Examinee:
    """Load a converted folder."""
    config = load_config(folder)
    model = load_model(folder, config, dtype)
    return Examinee(model, ChatTokenizer(folder, config), config)


def answers(
    examinee: Examinee, count: int, progress: Progress = unreported
) -> list[Answer]:
    """What the first model says to the questions that judge."""
    asked = samples("judge", count)
    given = []
    for embeds in examinee.embeds("judge", asked):
        given.append(examinee.answer(embeds))
        progress(len(given), count)
    return given


def judge(
    given: Sequence[Answer],
    examinee: Examinee,
    progress: Progress = unreported,
) -> Quality:
    """Lead the second model along the first one's answers, and compare."""
    asked = samples("judge", len(given))
    rows: list[mx.array] = []
    pairs = zip(given, examinee.embeds("judge", asked), strict=True)
    for answer, embeds in pairs:
        found = examinee.answer(embeds, follow=answer.token_ids)
        rows.append(_compare(answer, found))
        mx.eval(rows[-1])
        progress(len(rows), len(given))
    kl, agreed, lost = mx.concatenate(rows, axis=1)  # (positions,) each
    return Quality(
        samples=len(given),
        positions=kl.shape[0],
        kl_divergence=_number(kl.mean()),
        largest_kl=_number(kl.max()),
        top1_agreement=_number(agreed.sum()) / kl.shape[0],
        perplexity_ratio=math.exp(_number(lost.mean())),
    )


def compare_folders(
    first: Path,
    second: Path,
    *,
    count: int = JUDGED_SAMPLES,
    progress: Progress = unreported,
) -> Quality:
    """What the second converted folder's model lost against the first one's.

    Args:
        count: built-in questions to judge with.
        progress: called with steps done so far and in all.

    Raises:
        CheckpointError: the models have different tokenizers.
        OptionError: a number of samples out of range.
    """
    _check_tokenizers(first, second)
    dtype = judging_dtype(_parameters(first))
    given = answers(read_examinee(first, dtype), count, in_parts(progress, 0))
    return judge(given, read_examinee(second, dtype), in_parts(progress, 1))


def judging_dtype(parameters: int) -> str | None:
    """What to compute in: float32 tells packing from rounding, if it fits in memory.

    None is the backend's own, which takes half as much.
    """
    if current() == "cpu" or 4 * parameters <= host_memory() // 2:
        return "float32"
    return None


def in_parts(progress: Progress, part: int, parts: int = 2) -> Progress:
    """One of several passes as a part of all; each counts as many STEPS."""
    return lambda done, total: progress(
        part * STEPS + done * STEPS // total, parts * STEPS
    )


def _compare(expected: Answer, found: Answer) -> mx.array:
    """(3, tokens): divergence, whether the likeliest is the same, nats lost on it."""
    if expected.log_probs.shape != found.log_probs.shape:
        raise CheckpointError(
            f"The models have {expected.log_probs.shape[1]} and "
            f"{found.log_probs.shape[1]} tokens; only models with one vocabulary can "
            "be compared."
        )
    p, q = expected.log_probs, found.log_probs
    kl = mx.maximum((mx.exp(p) * (p - q)).sum(axis=-1), 0)  # rounding may be below
    same = mx.argmax(p, axis=-1) == mx.argmax(q, axis=-1)
    chosen = mx.array(expected.token_ids)[:, None]
    lost = mx.take_along_axis(p - q, chosen, axis=-1)[:, 0]
    return mx.stack([kl, same.astype(mx.float32), lost])


def _log_softmax(logits: mx.array) -> mx.array:
    logits = logits.astype(mx.float32)
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def _most_probable(log_probs: mx.array) -> int:
    return cast(int, mx.argmax(log_probs).item())


def _number(array: mx.array) -> float:
    return cast(float, array.item())


def _parameters(folder: Path) -> int:
    """Weights of a folder's network, without reading them."""
    network = tree_flatten(FastVLMModel(load_config(folder)).parameters())
    return sum(array.size for _, array in cast(list[tuple[str, mx.array]], network))


def _check_tokenizers(first: Path, second: Path) -> None:
    """Positions can be compared only where both count in the same tokens."""
    one, other = (read_json(folder / "tokenizer.json") for folder in (first, second))
    for part in ("model", "added_tokens"):
        if one.get(part) != other.get(part):
            raise CheckpointError(
                f"{first} and {second} have different tokenizers, so their answers "
                "cannot be compared; expected two forms of one model."
            )
