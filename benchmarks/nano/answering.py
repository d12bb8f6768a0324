"""Many questions about many pictures, answered greedily by our own runtime.

In: scenes and a resolution. Out: one text per question. Questions whose prompts are
equally long share a batch, so that nothing is padded.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from PIL import Image

from benchmarks.nano.tasks.scene import Ask, Scene
from fastvlm_mlx import FastVLM
from fastvlm_mlx.backend import mx
from fastvlm_mlx.image import prepare
from fastvlm_mlx.prompt import Message, Prompt

BATCH = 64  # Questions answered together.
LONGEST_ANSWER = 64  # Tokens.

Asked = tuple[int, Ask]
"""The scene's place, and the question."""


def answer_scenes(
    vlm: FastVLM, scenes: Sequence[Scene], resolution: int
) -> Iterator[tuple[Ask, str]]:
    """Answer every question of every scene at a resolution; yield them as they come."""
    features = [encode(vlm, scene.image, resolution) for scene in scenes]
    for batch, prompts in _batches(vlm, scenes, resolution):
        embeds = [features[place] for place, _ in batch]
        answers = answer_batch(vlm, prompts, embeds)
        yield from zip((asked for _, asked in batch), answers, strict=True)


def encode(vlm: FastVLM, image: Image.Image, resolution: int) -> mx.array:
    """A picture (RGB) as the language model sees it: (N, D)."""
    pixels = prepare(image, (resolution, resolution), "pad")
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
    rows: list[list[int]] = [[] for _ in prompts]
    for _ in range(LONGEST_ANSWER):
        written: list[int] = tokens.tolist()  # type: ignore[assignment]
        for row, token in zip(rows, written, strict=True):
            row.append(token)
        if all(any(_ends(vlm, token) for token in row) for row in rows):
            break
        logits = vlm.model.prefill(vlm.model.embed(tokens).swapaxes(0, 1), cache)
        tokens = mx.argmax(logits, axis=-1)
    return [vlm.tokenizer.decode(_until_end(vlm, row)) for row in rows]


def _until_end(vlm: FastVLM, row: list[int]) -> list[int]:
    ends = [place for place, token in enumerate(row) if _ends(vlm, token)]
    return row[: ends[0]] if ends else row


def _ends(vlm: FastVLM, token: int) -> bool:
    return token in vlm.config.eos_token_ids


def _batches(
    vlm: FastVLM, scenes: Sequence[Scene], resolution: int
) -> Iterator[tuple[list[Asked], list[Prompt]]]:
    """Yield questions in groups whose prompts are equally long."""
    tokens = vlm.config.vision_config.num_tokens((resolution, resolution))
    by_length: dict[int, list[tuple[Asked, Prompt]]] = defaultdict(list)
    for place, scene in enumerate(scenes):
        for asked in scene.questions:
            message = Message("user", asked.text, images=1)
            prompt = vlm.tokenizer.build([message], [tokens])
            by_length[len(prompt)].append(((place, asked), prompt))
    for group in by_length.values():
        for start in range(0, len(group), BATCH):
            part = group[start : start + BATCH]
            yield [asked for asked, _ in part], [prompt for _, prompt in part]
