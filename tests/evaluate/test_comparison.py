"""A figure beside the paper's, and when the two are not to be compared."""

from typing import Any

import pytest

from fastvlm_mlx.evaluate.comparison import Conditions, beside_paper
from fastvlm_mlx.evaluate.paper import paper_row
from fastvlm_mlx.evaluate.tasks import TASKS


def beside(task: str, figure: float = 65.0, **here: Any) -> dict[str, Any]:
    given = {"resolution": (1024, 1024), "split": TASKS[task].split, **here}
    row = paper_row(["apple/FastVLM-0.5B"])
    found = beside_paper(TASKS[task], figure, row, Conditions(**given))
    assert found is not None
    return found


def test_beside_the_paper() -> None:
    found = beside("textvqa")
    assert (found["row"], found["score"], found["difference"]) == ("R5", 65.8, -0.8)
    assert found["model_card"]["score"] == 64.5
    assert found["notes"] == []


@pytest.mark.parametrize(
    ("here", "note"),
    [
        ({"resolution": (512, 768)}, "reported at 1024, measured at 512x768"),
        (
            {"resolution": None},
            "reported at 1024, measured at each image's own resolution",
        ),
        ({"settings": ("anyres",)}, "measured with anyres"),
        ({"split": "train"}, "usually reported on validation, measured on train"),
        ({"whole": False}, "measured on the first questions only"),
    ],
)
def test_other_questions_or_pictures_have_no_difference(
    here: dict[str, Any], note: str
) -> None:
    found = beside("textvqa", **here)
    assert found["score"] == 65.8 and found["difference"] is None
    assert found["notes"] == [note]


@pytest.mark.parametrize(
    ("here", "note"),
    [
        ({"bits": 4}, "measured with weights of 4 bits"),
        ({"image_mode": "crop"}, "measured with image mode crop"),
    ],
)
def test_another_form_of_the_model_is_said(here: dict[str, Any], note: str) -> None:
    found = beside("textvqa", **here)
    assert found["difference"] == -0.8 and found["notes"] == [note]


def test_the_figure_of_pope_is_not_named_there() -> None:
    found = beside("pope", 86.0)
    assert found["difference"] == -0.2 and "does not name" in found["notes"][0]


def test_a_figure_of_the_model_card_alone() -> None:
    found = beside("realworldqa", 50.0)
    assert found["score"] is None and found["difference"] is None
    assert found["model_card"]["score"] == 56.1


@pytest.mark.parametrize(("name", "task"), [("nano", "gqa"), ("FastVLM-7B", "plain")])
def test_without_a_figure(name: str, task: str) -> None:
    here = Conditions(resolution=(1024, 1024), split="test")
    assert beside_paper(TASKS[task], 1.0, paper_row([name]), here) is None
