"""The training of nano at a tiny size: what it learns from, and that it can stop."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
pytest.importorskip("easy_vqa")
pytest.importorskip("benchmarks.nano.train.model")  # brings its torchvision stub

from tokenizers import Tokenizer  # noqa: E402

from benchmarks.nano.data.conversations import PromptEncoder  # noqa: E402
from benchmarks.nano.data.easy_vqa import EASY  # noqa: E402
from benchmarks.nano.data.mixture import RESOLUTIONS, draw_scene  # noqa: E402
from benchmarks.nano.data.square import IGNORED, LABEL_COUNT  # noqa: E402
from benchmarks.nano.data.tasks.scene import Question  # noqa: E402
from benchmarks.nano.data.tokenizer import (  # noqa: E402
    END,
    IMAGE,
    token_id,
    train_tokenizer,
)
from benchmarks.nano.train import trainer as training  # noqa: E402
from benchmarks.nano.train.__main__ import write_checkpoints  # noqa: E402
from benchmarks.nano.train.checkpoint import load_pieces, save_pieces  # noqa: E402
from benchmarks.nano.train.heads.dense_label import STAGES  # noqa: E402
from benchmarks.nano.train.loader import make_batch  # noqa: E402
from benchmarks.nano.train.losses import right_answers  # noqa: E402
from benchmarks.nano.train.model import (  # noqa: E402
    encode_images,
    read,
    to_pixel_values,
)
from benchmarks.nano.train.options import PRESETS, Options, Preset  # noqa: E402
from benchmarks.nano.train.trainer import Trainer  # noqa: E402
from convert import convert_checkpoint  # noqa: E402
from fastvlm_mlx import load  # noqa: E402

TINY = Preset(
    layers=(1, 1, 1, 1, 1),
    widths=(16, 16, 16, 32, 32),
    hidden=64,
    feed_forward=64,
    decoder_layers=1,
    heads=1,
    key_value_heads=1,
    vocabulary=320,
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["is there a red circle?", "yes", "no"] * 50, 320)


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    return Options(
        tmp_path,
        preset="tiny",
        resolution=64,
        images=1,
        naming_steps=1,
        workers=0,
        validate_every=2,
        validated=1,
    )


def weights(trainer: Trainer) -> dict[str, Any]:
    return {name: each.clone() for name, each in trainer.weights().items()}


def finished(options: Options, tokenizer: Tokenizer, steps: int = 1) -> Trainer:
    """A run from its beginning to its end."""
    trainer = Trainer(options, tokenizer)
    trainer.finish(steps)
    trainer.train()
    return trainer


def test_a_resumed_run_ends_as_an_unbroken_one(
    options: Options, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    unbroken = finished(options, tokenizer, 4)
    assert unbroken.is_finished
    first = Trainer(replace(options, out=tmp_path / "parts"), tokenizer)
    first.options.out.mkdir()
    first.finish(4)
    first.train(steps=2)
    second = Trainer(first.options, tokenizer)
    second.load_state()
    assert (second.step, second.is_finished) == (2, False)
    second.train()
    found, expected = weights(second), weights(unbroken)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_finished_run_can_go_on(options: Options, tokenizer: Tokenizer) -> None:
    trainer = finished(replace(options, warmup=1), tokenizer)
    trainer.finish(2)
    assert trainer.schedule.at(trainer.step) == options.rate
    trainer.train()
    assert (trainer.step, trainer.is_finished) == (3, True)


def test_a_finished_run_becomes_a_model(options: Options, tokenizer: Tokenizer) -> None:
    write_checkpoints(finished(options, tokenizer))
    for name in ("checkpoint", "checkpoint-fp16"):
        folder = options.out / f"{name}-converted"
        convert_checkpoint(options.out / name, folder)
        vlm = load(folder, dtype="float32")
        scene = draw_scene(EASY, "test", 0, 0)
        assert vlm.generate(scene.image, "what?", max_tokens=2).image_tokens == 1
        trained = vlm.engine.config.vision_config.trained_resolutions
        assert trained == tuple(RESOLUTIONS)
        assert vlm.engine.config.license == "mit"


def changed(trainer: Trainer) -> set[str]:
    """The parts of which a step changed a weight."""
    before = weights(trainer)
    trainer.train_step(trainer.steps[trainer.step])
    return {
        "tower" if ".vision_tower." in name else name.partition(".")[0]
        for name, each in trainer.weights().items()
        if not torch.equal(each, before[name]) and "running" not in name
        if "num_batches" not in name
    }


def test_what_learns_when(options: Options, tokenizer: Tokenizer) -> None:
    trainer = Trainer(replace(options, naming_steps=1, joint_step=2), tokenizer)
    found = []
    for trainer.step in range(3):
        found.append(changed(trainer))
    assert found == [
        {"tower", "heads"},
        {"heads", "model"},
        {"tower", "heads", "model"},
    ]


def statistics(trainer: Trainer) -> Any:
    found = [v for k, v in trainer.weights().items() if "running_mean" in k]
    return torch.cat(found)


def test_statistics_are_measured_once_and_then_held(
    options: Options, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SETTLING", 2)
    trainer = Trainer(replace(options, hold_step=2), tokenizer)
    found = []
    for trainer.step in range(4):
        trainer.train_step(trainer.steps[trainer.step])
        found.append(statistics(trainer))
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])
    assert torch.equal(found[2], found[3])
    trainer.save_state()
    again = Trainer(trainer.options, tokenizer)
    again.load_state()
    assert again.is_settled


def test_rates_rise_when_their_part_begins(
    options: Options, tokenizer: Tokenizer
) -> None:
    chosen = replace(options, rate=2e-3, answer_rate=1e-3, warmup=4, naming_steps=10)
    trainer = Trainer(chosen, tokenizer)
    rates = {}
    for trainer.step in (0, 10, 13, 20):
        trainer._set_rates()
        rates[trainer.step] = [each["lr"] for each in trainer.optimizer.param_groups]
    assert rates[0][:2] == [0.5e-3] * 2
    assert rates[10] == [2e-3, 2e-3, 0.25e-3, 0.25e-3]
    assert rates[13] == rates[20] == [2e-3, 2e-3, 1e-3, 1e-3]


def test_weights_go_on_from_pieces(options: Options, tokenizer: Tokenizer) -> None:
    trainer = Trainer(options, tokenizer)
    trainer.step = 7
    limit = 300_000
    count = save_pieces(trainer.weights(), options.out / "pieces", limit)
    assert count > 1
    sizes = [path.stat().st_size for path in (options.out / "pieces").iterdir()]
    assert max(sizes) < limit + 50_000  # the header beside the tensors
    other = Trainer(replace(options, seed=1), tokenizer)
    other.load_weights(load_pieces(options.out / "pieces"))
    assert other.step == 7
    rounded = {name: each.bfloat16() for name, each in weights(trainer).items()}
    for name, each in weights(other).items():
        assert torch.equal(each.bfloat16(), rounded[name]), name


def test_a_run_goes_on_from_a_checkpoint(
    options: Options, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """The model is the same, its statistics held; the heads say nothing as yet."""
    first = finished(options, tokenizer)
    write_checkpoints(first)
    second = Trainer(replace(options, seed=1, out=tmp_path / "on"), tokenizer)
    second.load_checkpoint(options.out / "checkpoint")
    assert (second.step, second.is_settled) == (0, True)
    expected = first.model.state_dict()
    found = second.model.state_dict()
    assert all(torch.equal(found[name], each) for name, each in expected.items())
    assert not second.heads["counting"].get_parameter("weight").any()
    changed(second)
    assert torch.equal(statistics(first), statistics(second))


def test_a_tensor_too_large_for_a_piece(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="big takes 200 bytes; the limit is 100"):
        save_pieces({"big": torch.zeros(100)}, tmp_path, 100)
    with pytest.raises(FileNotFoundError):
        load_pieces(tmp_path)


def test_shared_rows_score_like_separate_ones(
    options: Options, tokenizer: Tokenizer
) -> None:
    """Several conversations hung on one picture do not see each other."""
    trainer = Trainer(options, tokenizer)
    model = trainer.model.eval()
    scene = draw_scene("text", "train", 0, 0)
    asked = [
        Question("what?", "yes", "a/b"),
        Question("is there a red circle?", "no", "a/b"),
    ]
    together = make_batch([scene], [asked], 64, tokenizer)
    with torch.no_grad():
        features = encode_images(model, to_pixel_values(together.pixels))[-1]
        alone = [make_batch([scene], [[each]], 64, tokenizer) for each in asked]
        found, *apart = [
            read(model, features, batch.conversations).last[
                batch.conversations.labels != IGNORED
            ]
            for batch in (together, *alone)
        ]
    torch.testing.assert_close(found, torch.cat(apart))


def test_reading_is_the_models_own_arithmetic(
    options: Options, tokenizer: Tokenizer
) -> None:
    model = Trainer(options, tokenizer).model.eval()
    scene = draw_scene("text", "train", 0, 0)
    batch = make_batch([scene], [[Question("what?", "yes", "a/b")]], 64, tokenizer)
    with torch.no_grad():
        features = encode_images(model, to_pixel_values(batch.pixels))[-1]
        hidden = read(model, features, batch.conversations).last
        expected = model(
            input_ids=batch.conversations.input_ids,
            pixel_values=to_pixel_values(batch.pixels),
        ).logits
    torch.testing.assert_close(model.lm_head(hidden), expected)


def test_a_row_holds_the_prompt_and_its_answers(tokenizer: Tokenizer) -> None:
    encoder = PromptEncoder(tokenizer, image_tokens=4)
    asked = [Question("what?", "yes", "a/b"), Question("what else?", "no", "a/b")]
    row = encoder.batch([asked, []])
    assert row.input_ids.eq(token_id(tokenizer, IMAGE)).sum(dim=1).tolist() == [4, 4]
    ends = row.labels.eq(token_id(tokenizer, END)).sum(dim=1).tolist()
    assert ends == [2, 0]
    assert row.segments.amax(dim=1).tolist() == [2, 0]
    starts = [row.position_ids[0][row.segments[0] == each][0] for each in (1, 2)]
    assert starts[0] == starts[1]


def test_a_question_follows_another(options: Options, tokenizer: Tokenizer) -> None:
    """The second turn is scored as the chat template has it; the third sees neither."""
    asked = [Question(f"what {it}?", it, "a/b") for it in ("yes", "no", "red")]
    encoder = PromptEncoder(tokenizer, image_tokens=1)
    row = encoder.batch([asked], follow_up=True)
    text = tokenizer.decode(row.input_ids[0].tolist(), skip_special_tokens=False)
    turn = "what yes?{end}\n<|im_start|>assistant\nyes{end}\n<|im_start|>user\nwhat no?"
    assert turn.format(end=END) in text
    assert row.segments.amax() == 3
    model = Trainer(options, tokenizer).model.eval()
    features = torch.randn(1, model.config.vision_config.hidden_size, 1, 1)
    (answered,) = torch.where(row.labels[0] != IGNORED)
    with torch.no_grad():
        found = read(model, features, row).last[0, answered]
        third = encoder.batch([asked[2:]])
        alone = read(model, features, third).last[0, third.labels[0] != IGNORED]
        last = int((row.segments[0] <= 2).sum())
        plain = replace(row, threads=torch.zeros_like(row.threads))
        plain = replace(
            plain, **{name: each[:, :last] for name, each in vars(plain).items()}
        )
        assert plain.position_ids[0].tolist() == list(range(last))
        both = read(model, features, plain).last[0, plain.labels[0] != IGNORED]
    torch.testing.assert_close(found, torch.cat([both, alone]))


def test_a_word_of_several_tokens_is_spelled_by_its_characters(
    tokenizer: Tokenizer,
) -> None:
    answer = "It says:\nyes hill 10."
    row = PromptEncoder(tokenizer, 1).batch([[Question("what?", answer, "a/b")]])
    ids = row.labels[row.labels.ne(IGNORED)].tolist()
    assert tokenizer.decode(ids) == answer
    tokens = [tokenizer.id_to_token(each) for each in ids]
    spelled = [*"\u0120hill\u012010.", END]  # A byte-level blank is \u0120.
    assert tokens[-len(spelled) :] == spelled
    assert len(tokenizer.encode(" hill").ids) < len(" hill")  # It has larger pieces.


def test_an_answer_is_right_as_a_whole(tokenizer: Tokenizer) -> None:
    asked = [Question("what?", "yes", "a/b"), Question("what else?", "no", "a/b")]
    row = PromptEncoder(tokenizer, 1).batch([asked])
    labels = row.labels[row.labels.ne(IGNORED)]
    tokens = torch.nn.functional.one_hot(labels, 320).float()
    assert right_answers(tokens, row) == [[True, True]]
    tokens[0] = tokens[0].roll(1)
    assert right_answers(tokens, row) == [[False, True]]


def test_stages_see_more_and_more_pixels(
    options: Options, tokenizer: Tokenizer
) -> None:
    trainer = Trainer(options, tokenizer)
    pixels = torch.zeros(1, 3, 128, 192)
    stages = encode_images(trainer.model, pixels, STAGES.values())
    assert [each.shape[2:] for each in stages] == [(8, 12), (4, 6), (2, 3)]
    assert stages[-1].shape[1] == 64
    chosen = torch.tensor([0, 8 * 24 - 1])
    named = trainer.heads["dense_label"](stages, chosen)
    assert list(named) == ["16", "32", "64"]
    assert {each.shape for each in named.values()} == {(2, LABEL_COUNT)}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_presets_suit_the_kernels(name: str) -> None:
    preset = PRESETS[name]
    assert all(
        wide % narrow == 0
        for narrow, wide in zip(preset.widths, preset.widths[1:], strict=False)
    )
    for size in (preset.hidden, preset.feed_forward, preset.vocabulary):
        assert size % 64 == 0
