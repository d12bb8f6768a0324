"""The built-in samples: the same every time, and none in both sets."""

import numpy as np
import pytest

from convert.questions import MOST_SAMPLES, sample_image, samples
from fastvlm_mlx.errors import OptionError


def test_the_same_pictures_every_time() -> None:
    for number in range(8):
        first, second = (np.array(sample_image("judge", number)) for _ in range(2))
        assert np.array_equal(first, second)


def test_the_sets_share_nothing() -> None:
    judged, calibrated = samples("judge", 64), samples("calibrate", 64)
    assert not {each.question for each in judged} & {
        each.question for each in calibrated
    }
    for number in range(16):
        pair = sample_image("judge", number), sample_image("calibrate", number)
        assert pair[0].tobytes() != pair[1].tobytes()


def test_pictures_follow_each_other_in_kind_only() -> None:
    first, later = sample_image("judge", 2), sample_image("judge", 10)
    assert first.size == later.size
    assert first.tobytes() != later.tobytes()


def test_no_sample_comes_twice() -> None:
    assert len(set(samples("judge", MOST_SAMPLES))) == MOST_SAMPLES
    assert samples("judge", 5) == samples("judge", 64)[:5]


def test_thirty_two_samples_ask_four_questions_about_eight_pictures() -> None:
    asked = samples("judge", 32)
    assert {each.image for each in asked} == set(range(8))
    assert len({each.question for each in asked}) == 32


def test_every_sample_to_calibrate_with_has_its_own_picture() -> None:
    asked = samples("calibrate", 64)
    assert [each.image for each in asked] == list(range(64))


@pytest.mark.parametrize("count", [-1, 0, MOST_SAMPLES + 1])
def test_a_number_out_of_range(count: int) -> None:
    with pytest.raises(OptionError, match=f"{count} samples; expected 1 to 256"):
        samples("judge", count)
