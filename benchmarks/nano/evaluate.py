"""Measure nano in our own runtime: `python -m benchmarks.nano.evaluate`.

The train-form checkpoint is converted at 16, 8 and 4 bits and each result answers
easy-vqa's official test split greedily; so does the model that ships in the package.
Only the data set's exact words are right. The last line printed is JSON.
"""

import argparse
import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.nano.data import Question, Split, load_split
from convert import Recipe, convert_checkpoint
from fastvlm_mlx import FastVLM, load
from fastvlm_mlx.backend import mx
from fastvlm_mlx.image import open_image, prepare
from fastvlm_mlx.prompt import Message, Prompt
from fastvlm_mlx.resolve import EMBEDDED

CHECKPOINT = Path(__file__).parent / "checkpoint"
BATCH = 64
LONGEST_ANSWER = 8  # tokens

PRECISIONS: dict[str, Recipe | None] = {
    "16 bit": None,
    "8 bit": Recipe(8),
    "4 bit": Recipe(4),
}

Asked = tuple[int, Question]  # the picture's place in the split, and the question


@dataclass(frozen=True)
class Accuracy:
    """Right answers out of the questions asked."""

    right: int
    asked: int

    @property
    def percent(self) -> float:
        """Share of right answers."""
        return 100 * self.right / self.asked

    @property
    def margin(self) -> float:
        """Half of the 95 % confidence interval, in points (normal approximation)."""
        share = self.right / self.asked
        return 196 * math.sqrt(share * (1 - share) / self.asked)


def evaluate(vlm: FastVLM, split: Split) -> dict[str, Accuracy]:
    """Answer every question of a split; accuracy by kind of question, and of all."""
    features = [encode(vlm, picture.path) for picture in split]
    counts: dict[str, list[bool]] = defaultdict(list)
    for batch, prompts in _batches(vlm, split):
        embeds = [features[picture] for picture, _ in batch]
        for (_, question), answer in zip(
            batch, answer_batch(vlm, prompts, embeds), strict=True
        ):
            counts[question.kind].append(answer == question.answer)
            counts["all"].append(answer == question.answer)
    return {kind: Accuracy(sum(got), len(got)) for kind, got in sorted(counts.items())}


def encode(vlm: FastVLM, path: Path) -> mx.array:
    """A picture as the language model sees it: (N, D)."""
    config = vlm.config
    pixels = prepare(open_image(path), config.vision_config.image_size, "pad")
    pixel_values = mx.array(pixels)[None].astype(vlm.model.embed_dtype) / 255
    embeds = vlm.model.project(vlm.model.encode_image(pixel_values))[0]
    mx.eval(embeds)
    return embeds


def answer_batch(
    vlm: FastVLM, prompts: Sequence[Prompt], embeds: Sequence[mx.array]
) -> list[str]:
    """Greedy answers to prompts of one length, each about one picture."""
    spliced = [
        vlm.model.splice(prompt.token_ids, prompt.image_spans, [picture])
        for prompt, picture in zip(prompts, embeds, strict=True)
    ]
    cache = vlm.model.make_cache()
    tokens = mx.argmax(vlm.model.prefill(mx.concatenate(spliced), cache), axis=-1)
    written = [tokens]
    for _ in range(LONGEST_ANSWER - 1):
        logits = vlm.model.prefill(vlm.model.embed(tokens).swapaxes(0, 1), cache)
        tokens = mx.argmax(logits, axis=-1)
        written.append(tokens)
    rows: list[list[int]] = mx.stack(written, axis=1).tolist()  # type: ignore[assignment]
    return [vlm.tokenizer.decode(_until_end(vlm, row)) for row in rows]


def _until_end(vlm: FastVLM, row: list[int]) -> list[int]:
    ends = [place for place, token in enumerate(row) if _ends(vlm, token)]
    return row[: ends[0]] if ends else row


def _ends(vlm: FastVLM, token: int) -> bool:
    return token in vlm.config.eos_token_ids


def _batches(vlm: FastVLM, split: Split) -> Iterator[tuple[list[Asked], list[Prompt]]]:
    """Questions in groups whose prompts are equally long, so nothing is padded."""
    config = vlm.config.vision_config
    tokens = config.num_tokens(config.image_size)
    by_length: dict[int, list[tuple[Asked, Prompt]]] = defaultdict(list)
    for place, picture in enumerate(split):
        for question in picture.questions:
            message = Message("user", question.text, images=1)
            prompt = vlm.tokenizer.build([message], [tokens])
            by_length[len(prompt)].append(((place, question), prompt))
    for group in by_length.values():
        for start in range(0, len(group), BATCH):
            part = group[start : start + BATCH]
            yield [asked for asked, _ in part], [prompt for _, prompt in part]


def models(checkpoint: Path, work: Path) -> Iterator[tuple[str, Path | str]]:
    """The checkpoint converted at every precision, then the model in the package."""
    for name, recipe in PRECISIONS.items():
        folder = work / name.replace(" ", "-")
        convert_checkpoint(
            checkpoint, folder, recipe=recipe, dtype="float16", quality_samples=0
        )
        yield name, folder
    yield "shipped", EMBEDDED


def main() -> None:
    """Print a table of accuracies and a line of JSON."""
    parser = argparse.ArgumentParser(description="Measure nano in our own runtime.")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--dtype", help="compute in (default: as the runtime picks)")
    parser.add_argument("--pictures", type=int, help="only the first so many")
    arguments = parser.parse_args()
    split = load_split("test")[: arguments.pictures]
    results = {}
    with tempfile.TemporaryDirectory() as work:
        for name, model in models(arguments.checkpoint, Path(work)):
            results[name] = evaluate(load(model, dtype=arguments.dtype), split)
            _print_row(name, results[name])
    plain = {
        name: {kind: asdict(score) for kind, score in scores.items()}
        for name, scores in results.items()
    }
    print(json.dumps({"benchmark": "nano", "pictures": len(split), "right": plain}))


def _print_row(name: str, scores: dict[str, Accuracy]) -> None:
    cells = [
        f"{kind} {score.percent:.2f} % ±{score.margin:.2f} of {score.asked}"
        for kind, score in scores.items()
    ]
    print(f"{name:8} {'  '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
