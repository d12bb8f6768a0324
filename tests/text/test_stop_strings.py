"""Stop strings must not depend on how the text was cut into tokens."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastvlm_mlx.text.stop_strings import StopFilter


def reference(text: str, stops: list[str]) -> tuple[str, str | None]:
    """Read letter by letter; the first stop that is complete ends the answer."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            longest = max(complete, key=len)
            return text[: end - len(longest)], longest
    return text, None


def run(pieces: list[str], stops: list[str]) -> tuple[str, str | None]:
    """What is shown and what matched, as TextStream uses the filter."""
    stop_filter, shown = StopFilter(stops), ""
    for piece in pieces:
        shown += stop_filter.feed(piece)
        if stop_filter.matched is not None:
            return shown, stop_filter.matched
    return shown + stop_filter.flush(), None


letters = st.text("abc", max_size=12)
some_stops = st.lists(st.text("abc", min_size=1, max_size=4), max_size=3)


# a stop that begins in one piece and ends in another
@example(pieces=["xa", "bx"], stops=["ab"])
@example(pieces=["a", "a", "b"], stops=["ab", "b"])
@given(pieces=st.lists(letters, max_size=8), stops=some_stops)
def test_any_cutting_gives_the_same_answer(pieces: list[str], stops: list[str]) -> None:
    assert run(pieces, stops) == reference("".join(pieces), stops)


@given(pieces=st.lists(letters, max_size=8), stops=some_stops)
def test_nothing_is_held_back_without_need(pieces: list[str], stops: list[str]) -> None:
    """Held is only what could still become a stop string."""
    stop_filter, text, shown = StopFilter(stops), "", ""
    for piece in pieces:
        text += piece
        shown += stop_filter.feed(piece)
        if stop_filter.matched is not None:
            return
        held = text.removeprefix(shown)
        assert text == shown + held
        assert not held or any(stop.startswith(held) for stop in stops)


@pytest.mark.parametrize(
    ("stops", "text", "shown", "matched"),
    [
        (["abcx", "b"], "abcx", "a", "b"),  # b is there first
        (["a", "ab"], "ab", "", "a"),
        (["bc", "abc"], "abc", "", "abc"),  # both at once: the longer
        (["aab"], "aaab", "a", "aab"),
        (["</s>"], "a</s", "a</s", None),
        ([], "abc", "abc", None),
    ],
)
def test_overlapping_stops(
    stops: list[str], text: str, shown: str, matched: str | None
) -> None:
    assert run([text], stops) == run(list(text), stops) == (shown, matched)


def test_flush_empties_the_filter() -> None:
    stop_filter = StopFilter(["ab"])
    assert stop_filter.feed("xa") == "x"
    assert (stop_filter.flush(), stop_filter.flush()) == ("a", "")
