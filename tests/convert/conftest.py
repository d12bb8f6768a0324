"""Checkpoints of every layout, copied so that a test may damage them."""

from pathlib import Path

import numpy as np
import pytest

from tests.convert.folders import NAMES, copy_golden


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """One of the golden folders."""
    return str(request.param)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small checkpoint in Apple's layout, in one file."""
    return copy_golden("apple-train", tmp_path / "source")


@pytest.fixture
def rng() -> np.random.Generator:
    """The same random numbers every time."""
    return np.random.default_rng(0)
