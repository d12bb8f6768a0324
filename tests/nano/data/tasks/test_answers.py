"""Answers compared with those that follow from the marks."""

import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.nano.data import tasks
from benchmarks.nano.data.tasks.canvas import ninth
from benchmarks.nano.data.tasks.scene import Scene
from benchmarks.nano.data.tasks.wording import COUNTS, draw_price, listed, with_article

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
    ("centre", "name"),
    [
        ((20, 20), "top left"),
        ((100, 20), "top"),
        ((180, 50), "right"),
        ((100, 50), "middle"),
        ((20, 90), "bottom left"),
        ((66, 50), None),
    ],
)
def test_places_have_names(centre: tuple[float, float], name: str | None) -> None:
    assert ninth(centre, (200, 100)) == name


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


@given(seeds)
def test_a_price_has_two_decimals(seed: int) -> None:
    assert re.fullmatch(r"[1-9]\d?\.\d\d", draw_price(Random(seed), "train"))


def test_lists_and_articles_read_well() -> None:
    assert listed(["a star"]) == "a star"
    assert listed(["a star", "a ring", "two hearts"]) == "a star, a ring and two hearts"
    assert with_article("orange star") == "an orange star"
