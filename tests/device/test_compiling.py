"""Kernels for the CPU: not before they pay, then at once, and the same numbers."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fastvlm_mlx.device import compiling, setup
from fastvlm_mlx.device.backend import current, mx
from fastvlm_mlx.device.compiling import WORTH, Compiler, Kernels, sparing
from fastvlm_mlx.resolve import find_model
from fastvlm_mlx.weights import load_model

needs_compiler = pytest.mark.skipif(
    current() != "cpu" or shutil.which("g++") is None, reason="nothing to compile with"
)

Situation = Callable[..., Kernels]


@pytest.fixture
def situation(monkeypatch: pytest.MonkeyPatch) -> Situation:
    """A process that has computed nothing yet, on a machine as described."""

    def made(
        asked: bool | None = None,
        works: bool = True,
        known: bool = False,
        compiles: bool = True,
        backend: str = "cpu",
    ) -> Kernels:
        monkeypatch.setattr(compiling, "current", lambda: backend)
        monkeypatch.setattr(compiling, "_compiles", lambda: compiles)
        kernels = Kernels()
        kernels.compiler = Compiler(
            asked, works, lambda: known, lambda: marks.append(1)
        )
        return kernels

    marks.clear()
    return made


marks: list[int] = []


@pytest.mark.parametrize(
    ("described", "used"),
    [
        ({}, False),
        ({"known": True}, True),
        ({"asked": True}, True),
        ({"asked": False, "known": True}, False),
        ({"works": False, "asked": True}, False),
        ({"compiles": False, "asked": True}, False),
        ({"asked": False, "backend": "metal"}, True),
    ],
)
def test_what_a_process_begins_with(
    situation: Situation, described: dict[str, bool], used: bool
) -> None:
    assert situation(**described).used == used


@pytest.mark.parametrize(
    ("value", "asked"), [(None, None), ("", None), ("1", True), ("0", False)]
)
@pytest.mark.parametrize("there", [True, False])
def test_what_the_machine_says(
    monkeypatch: pytest.MonkeyPatch, value: str | None, asked: bool | None, there: bool
) -> None:
    monkeypatch.setenv(setup.COMPILE, value or "")
    if value is None:
        monkeypatch.delenv(setup.COMPILE)
    monkeypatch.setattr(shutil, "which", lambda name: name if there else None)
    found = setup.compiler()
    assert (found.asked, found.works) == (asked, there)


@pytest.mark.parametrize(
    ("described", "used"),
    [
        ({}, True),
        ({"asked": False}, False),
        ({"works": False}, False),
        ({"compiles": False}, False),
    ],
)
def test_enough_images_start_compiling_where_it_is_possible(
    situation: Situation, described: dict[str, bool], used: bool
) -> None:
    kernels = situation(**described)
    kernels.count(int(0.9 * WORTH), 1)
    assert not kernels.used
    kernels.count(int(0.2 * WORTH), 1)
    assert kernels.used == used


def test_four_large_images_or_fourteen_small_ones_are_enough(
    situation: Situation,
) -> None:
    for side, least, most in ((1024, 2, 5), (512, 8, 20)):
        kernels, images = situation(), 0
        while not kernels.used:
            kernels.count(122_660_640, side * side)
            images += 1
        assert least <= images <= most


def test_the_user_reads_one_line(
    situation: Situation, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kernels = situation()
    for _ in range(3):
        kernels.count(int(WORTH), 1)
        kernels.begin()
    assert caplog.text.count("Compiling for this CPU") == 1
    caplog.clear()
    assert situation(known=True).used and not caplog.text


def test_kernels_are_marked_once_an_image_went_through_them(
    situation: Situation,
) -> None:
    kernels = situation(asked=True)
    kernels.count(1, 1)
    assert not marks
    for _ in range(3):
        kernels.count(1, 1)
    assert marks == [1]


@pytest.fixture
def held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = Kernels()
    monkeypatch.setattr(compiling, "kernels", kernels)
    monkeypatch.setattr(compiling, "current", lambda: "cpu")


@needs_compiler
def test_compiled_functions_run_as_written_while_held_back(held_back: None) -> None:
    runs = []

    @mx.compile
    def function(x: mx.array) -> mx.array:
        runs.append(1)
        return x + 1

    spared = sparing(lambda: function(mx.zeros(2)))
    for _ in range(3):
        spared()
    assert len(runs) == 3
    for _ in range(3):
        function(mx.zeros(2))
    assert len(runs) == 4  # compiled again: traced once


@needs_compiler
def test_an_error_leaves_mlx_compiling(held_back: None) -> None:
    with pytest.raises(ZeroDivisionError):
        sparing(lambda: 1 // 0)()
    assert compiling._is_enabled()


@needs_compiler
def test_a_host_that_switched_compiling_off_keeps_it_off(held_back: None) -> None:
    mx.disable_compile()
    try:
        sparing(lambda: None)()
        assert not compiling._is_enabled()
    finally:
        mx.enable_compile()


@needs_compiler
def test_the_numbers_are_the_same(held_back: None) -> None:
    found = find_model("nano")
    model = load_model(found.path, found.config)
    pixels = mx.random.uniform(shape=(1, 128, 128, 3), key=mx.random.key(0))
    without = model.project(model.encode_image(pixels))
    mx.eval(without)
    compiling.kernels._used = True
    compiled = model.project(model.encode_image(pixels))
    # to the last bit where g++ may not join a multiplication and an addition
    assert mx.allclose(without, compiled, rtol=1e-5, atol=1e-6)


ANSWER = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(message)s")
import fastvlm_mlx
from fastvlm_mlx.device.kernel_folder import kernel_folder
vlm = fastvlm_mlx.load()
result = vlm.generate(
    sys.argv[1], "what color is the circle?",
    temperature=0.7, top_p=0.9, min_p=0.05, seed=1, max_tokens=4,
)
print(result.text, len(list(kernel_folder().glob("*.so"))))
"""


def answer(picture: Path, folder: Path, **environment: str) -> tuple[str, str]:
    """What one answer by nano prints and logs, with no kernels there before."""
    known = {name: text for name, text in os.environ.items() if name != setup.COMPILE}
    done = subprocess.run(
        [sys.executable, "-c", ANSWER, str(picture)],
        env={**known, "TMPDIR": str(folder), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip(), done.stderr


@needs_compiler
def test_a_short_answer_compiles_nothing(picture_file: Path, tmp_path: Path) -> None:
    printed, logged = answer(picture_file, tmp_path)
    assert printed == "red 0"
    assert "Compiling" not in logged


@needs_compiler
def test_a_compiler_that_fails_costs_no_answer(
    picture_file: Path, tmp_path: Path
) -> None:
    """As one without its headers: it says its version, and nothing more."""
    script = tmp_path / "g++"
    script.write_text('#!/bin/sh\n[ "$1" = --version ]\n')
    script.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    printed, logged = answer(picture_file, tmp_path, PATH=path, FASTVLM_MLX_COMPILE="1")
    assert printed == "red 0"
    assert logged.count("Going on without compiled kernels") == 1
