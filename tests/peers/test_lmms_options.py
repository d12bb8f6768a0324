"""Generation arguments of lmms-eval as ours."""

from typing import Any

import pytest

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

pytest.importorskip("lmms_eval")


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, {"max_tokens": 1024, "temperature": 0.0, "stop": []}),
        (
            {"max_new_tokens": 16, "temperature": 0, "top_p": 0, "num_beams": 1},
            {"max_tokens": 16, "temperature": 0.0, "stop": []},
        ),
        (
            {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "until": "X"},
            {"max_tokens": 1024, "temperature": 0.7, "top_p": 0.9, "stop": ["X"]},
        ),
        (
            {"do_sample": False, "temperature": 0.7, "until": ["", "\n"]},
            {"max_tokens": 1024, "temperature": 0.0, "stop": ["\n"]},
        ),
    ],
)
def test_options(given: dict[str, Any], options: dict[str, Any]) -> None:
    from fastvlm_mlx.evaluate.lmms_model import options_from

    assert options_from(given) == options


def test_an_unknown_argument_is_named() -> None:
    from fastvlm_mlx.evaluate.lmms_model import FastVLMForLmms

    with pytest.raises(ValueError, match="no model argument size; expected pretrained"):
        FastVLMForLmms(size=1)
