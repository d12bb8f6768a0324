"""Answers compared with what the marks or the contents say, worked out anew."""

import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.nano import tasks
from benchmarks.nano.tasks import chart_data
from benchmarks.nano.tasks.ninth import ninth
from benchmarks.nano.tasks.receipts import draw_slip
from benchmarks.nano.tasks.scene import Ask, Scene
from benchmarks.nano.tasks.wording import COUNTS, draw_price, listed, with_article

seeds = st.integers(0, 2**32)
drawn = settings(max_examples=80, deadline=None)


def named(scene: Scene, noun: str) -> int:
    """How many marks a noun in the singular means: "star", "red shape"."""
    wanted = set(noun.split()) - {"shape", "object"}
    return sum(wanted <= set(mark.label.split()) for mark in scene.marks)


def singular(noun: str) -> str:
    if noun.endswith("ss"):  # One cross.
        return noun
    return noun.removesuffix("es" if noun.endswith("sses") else "s")


@given(seeds)
@drawn
def test_figures_are_counted(seed: int) -> None:
    scene = tasks.draw("shapes", "train", seed, 1)
    for one in scene.questions:
        found = re.match(
            r"(?:how many|count the) ([a-z ]+?)(?: are| do|\.)", one.text.lower()
        )
        if found:
            number = named(scene, singular(found[1]))
            said = one.answer.split()[2] if one.answer.endswith(".") else one.answer
            assert said in (str(number), COUNTS[number]), one


@given(seeds)
@drawn
def test_yes_and_no_are_true(seed: int) -> None:
    scene = tasks.draw("shapes", "train", seed, 2)
    for one in scene.questions:
        if one.kind == "shapes/yes-no":
            text = one.text.lower().split("?")[0].removesuffix(" in the image")
            noun = re.sub(r"^(is|does|do) .*?\b(an?|no)\b ", "", text).removesuffix(
                " present"
            )
            negated = " not " in text or " no " in text
            shown = named(scene, noun) > 0
            assert one.answer.lower().startswith("yes" if shown != negated else "no"), (
                one
            )


@given(seeds)
@drawn
def test_colors_and_shapes_are_those_of_a_mark(seed: int) -> None:
    scene = tasks.draw("shapes", "train", seed, 3)
    for one in scene.questions:
        if one.kind in ("shapes/color", "shapes/shape") and not one.answer.endswith(
            "."
        ):
            words = set(map(singular, re.findall(r"[a-z]+", one.text.lower())))
            about = [mark for mark in scene.marks if words & set(mark.label.split())]
            shown = {one.answer in mark.label.split() for mark in about or scene.marks}
            assert shown == {True}, one


@given(seeds)
@drawn
def test_the_bigger_figure_is_bigger(seed: int) -> None:
    scene = tasks.draw("shapes", "train", seed, 4)
    area: dict[str, list[float]] = {}
    for mark in scene.marks:
        left, top, right, bottom = mark.box
        area.setdefault(mark.label, []).append((right - left) * (bottom - top))
    for one in scene.questions:
        pair = re.match(
            r".*(bigger|smaller).* the (\w+ \w+) or the (\w+ \w+)", one.text
        )
        if pair and not one.answer.endswith("."):
            choose = max if pair[1] == "bigger" else min
            assert one.answer == choose(
                pair[2], pair[3], key=lambda name: area[name][0]
            )
        extreme = re.match(r".*(biggest|smallest)", one.text)
        if extreme and not one.answer.endswith("."):
            choose = max if extreme[1] == "biggest" else min
            every = [size for sizes in area.values() for size in sizes]
            assert choose(every) in area[one.answer]


@pytest.mark.parametrize(
    ("center", "name"),
    [
        ((20, 20), "top left"),
        ((100, 20), "top"),
        ((180, 50), "right"),
        ((100, 50), "middle"),
        ((20, 90), "bottom left"),
        ((66, 50), None),
    ],
)
def test_places_have_names(center: tuple[float, float], name: str | None) -> None:
    assert ninth(center, (200, 100)) == name


@given(seeds)
@drawn
def test_the_marks_spell_the_text(seed: int) -> None:
    scene = tasks.draw("text", "test", seed, 0)
    spelled = "".join(mark.label for mark in scene.marks)
    for one in scene.questions:
        if "say" in one.text.lower() and not one.answer.endswith("."):
            assert one.answer.replace(" ", "") == spelled
        elif "sentence" not in one.text and "color" not in one.kind:
            said = one.answer.removesuffix(".").removeprefix("A sign that says ")
            said = said.removeprefix("A picture that says ")
            assert said.replace(" ", "") in spelled, one


def short(asked: tuple[Ask, ...], kind: str) -> list[Ask]:
    return [one for one in asked if one.kind == kind and not one.answer.endswith(".")]


@given(seeds)
def test_chart_answers_follow_from_the_table(seed: int) -> None:
    random = Random(seed)
    table = chart_data.draw_table(random, "train", random.choice(("bar", "pie")), 5)
    asked = chart_data.draw_questions(random, table, "")
    shown = [chart_data.shown_value(table, value) for value in table.values]
    for kind, choose in (("charts/highest", max), ("charts/lowest", min)):
        for one in short(asked, kind):
            value = choose(table.values)
            assert table.values.count(value) == 1
            place = table.values.index(value)
            is_value = "value?" in one.text and "label" not in one.text
            assert one.answer == (shown if is_value else table.labels)[place], one
    for one in short(asked, "charts/value"):
        label = re.findall(r"\w+", one.text)[-1]
        assert one.answer == shown[table.labels.index(label)]
    for one in short(asked, "charts/difference"):
        values = [
            v
            for n, v in zip(table.labels, table.values, strict=True)
            if re.search(rf"\b{n}\b", one.text.split(" the difference between ")[-1])
        ]
        assert one.answer.rstrip("%") == str(abs(values[0] - values[1])), one
    assert table.kind == "bar" or sum(table.values) == 100


@given(seeds)
@drawn
def test_bars_parts_buttons_and_toggles_are_counted(seed: int) -> None:
    for task in ("charts", "screens"):
        scene = tasks.draw(task, "train", seed, 0)
        labels = [mark.label for mark in scene.marks]
        for one in scene.questions:
            found = re.match(
                r"how many (bar|part|button|toggle)s (are|does) (\w+)", one.text.lower()
            )
            if found:
                noun = f"{found[1]} on" if found[3] == "on" else found[1]
                number = sum(noun in label for label in labels if len(label) > 1)
                said = (
                    one.answer.lower()
                    if not one.answer.endswith(".")
                    else COUNTS[number]
                )
                assert said in (str(number), COUNTS[number]), one


@given(seeds)
@drawn
def test_the_highest_bar_is_drawn_highest(seed: int) -> None:
    """The tallest or longest rectangle is the one that the question is about."""
    scene = tasks.draw("charts", "train", seed, 0)
    bars = [mark.box for mark in scene.marks if mark.label == "bar"]
    asked = [
        one for one in short(scene.questions, "charts/highest") if "bar" in one.text
    ]
    if not asked or not bars:
        return
    lying = len({round(box[0], 3) for box in bars}) == 1
    length = [box[2] - box[0] if lying else box[3] - box[1] for box in bars]
    middle = [((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in bars]
    x, y = middle[length.index(max(length))]
    beside = [
        mark.label
        for mark in scene.marks
        if len(mark.label) == 1
        and abs(
            (mark.box[1] + mark.box[3]) / 2 - y
            if lying
            else (mark.box[0] + mark.box[2]) / 2 - x
        )
        < (bars[0][3] - bars[0][1] if lying else bars[0][2] - bars[0][0])
    ]
    assert set(asked[0].answer) <= set(beside)


@given(seeds)
def test_a_receipt_adds_up(seed: int) -> None:
    slip = draw_slip(Random(seed), "test")
    assert float(slip.total) == pytest.approx(sum(float(p) for _, p in slip.goods))


@given(seeds)
def test_a_price_has_two_decimals(seed: int) -> None:
    assert re.fullmatch(r"[1-9]\d?\.\d\d", draw_price(Random(seed), "train"))


def test_lists_and_articles_read_well() -> None:
    assert listed(["a star"]) == "a star"
    assert listed(["a star", "a ring", "two hearts"]) == "a star, a ring and two hearts"
    assert with_article("orange star") == "an orange star"
