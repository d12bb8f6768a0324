"""The paper's claims, from its own figures."""

import pytest

from benchmarks.paper.headlines import HEADLINES, Headline, published_ttft


@pytest.mark.parametrize("headline", HEADLINES, ids=lambda headline: headline.claim)
def test_the_papers_own_figures_give_its_claims(headline: Headline) -> None:
    found = headline.value(published_ttft())
    if found is None:  # MM1's time is not published, but its tokens are
        found = headline.value({})
    assert found == pytest.approx(headline.published, rel=0.025)


def test_a_claim_without_both_times_is_open() -> None:
    assert HEADLINES[0].value({"LLaVA-OneVision 0.5B": 1.0}) is None
