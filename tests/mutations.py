"""Breaks the code in fifteen places, one by one: `python -m tests.mutations`.

Each mutation is a small edit of one file in a copy of the repository, and names a test
that must fail there. The same tests must pass in an unchanged copy, so that a failure
is the mutation's.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOT_COPIED = (".git", ".venv*", ".*_cache", "__pycache__", "build", "*.egg-info")
TESTS_FAILED = 1  # pytest's exit status; others mean that they were not run


@dataclass(frozen=True)
class Mutation:
    """A place of the code, what it is broken to, and the test that must notice."""

    name: str
    file: str
    old: str
    new: str
    test: str

    def apply(self, root: Path) -> None:
        """Edit the file below a folder.

        Raises:
            SystemExit: the text to be replaced is not there exactly once.
        """
        path = root / self.file
        text = path.read_text("utf-8")
        if (count := text.count(self.old)) != 1:
            raise SystemExit(
                f"{self.file} has {count} times {self.old!r}, expected once; "
                f"change the mutation {self.name!r} in {Path(__file__).name}."
            )
        path.write_text(text.replace(self.old, self.new), "utf-8")


MUTATIONS = (
    Mutation(
        "fold",
        "convert/reparameterize.py",
        "self.bias - self.running_mean * self.factor",
        "self.bias + self.running_mean * self.factor",
        "tests/convert/test_reparameterize.py::test_batch_norm_goes_into_the_conv",
    ),
    Mutation(
        "splice",
        "fastvlm_mlx/model/fastvlm.py",
        "return mx.concatenate(parts, axis=1)",
        "return mx.concatenate(parts[::-1], axis=1)",
        "tests/test_engine.py::test_two_pictures_stand_where_they_belong",
    ),
    Mutation(
        "cache key",
        "fastvlm_mlx/images/image.py",
        "    digest.update(pixels.tobytes())\n",
        "",
        "tests/test_reuse.py::test_pictures_that_differ_in_a_pixel_or_a_setting",
    ),
    Mutation(
        "stop string",
        "fastvlm_mlx/text/stop_strings.py",
        "keep = max((self._overlap(stop) for stop in self._stops), default=0)",
        "keep = 0",
        "tests/text/test_stop_strings.py::test_any_cutting_gives_the_same_answer",
    ),
    Mutation(
        "seed",
        "fastvlm_mlx/generation/sampling.py",
        "mx.random.seed(seeds.getrandbits(64))",
        "mx.random.seed(0)",
        "tests/test_engine.py::test_other_seeds_give_other_answers",
    ),
    Mutation(
        "resume",
        "fastvlm_mlx/answer_file.py",
        "            os.ftruncate(self._file, self._size)\n\n    def _learn",
        "            pass\n\n    def _learn",
        "tests/test_jobs.py::test_from_wherever_it_was_cut",
    ),
    Mutation(
        "crop",
        "fastvlm_mlx/images/resize.py",
        "left, top = (cover_width - width) // 2, (cover_height - height) // 2",
        "left, top = 0, 0",
        "tests/images/test_resize.py::test_crop_is_shortest_edge_then_centre",
    ),
    Mutation(
        "quantize",
        "convert/packing.py",
        '"biases": biases[0] * scale}',
        '"biases": biases[0]}',
        "tests/convert/test_packing.py::test_the_scale_of_a_stream_changes_nothing",
    ),
    Mutation(
        "scheduler order",
        "fastvlm_mlx/scheduling/scheduler.py",
        "return  # those behind it may not pass, or it might wait for ever",
        "continue",
        "tests/scheduling/test_scheduler.py"
        "::test_a_small_request_does_not_pass_one_that_waits_for_memory",
    ),
    Mutation(
        "cancel",
        "fastvlm_mlx/scheduling/scheduler.py",
        "request.unwanted = True",
        "request.unwanted = False",
        "tests/scheduling/test_scheduler.py"
        "::test_a_cancelled_request_is_gone_after_one_turn",
    ),
    Mutation(
        "header size",
        "fastvlm_mlx/images/decode.py",
        "(width, height) if header.orientation in _ON_ITS_SIDE else (height, width)",
        "(height, width)",
        "tests/images/formats/test_formats.py::test_images_are_turned_upright_once",
    ),
    Mutation(
        "path expansion",
        "fastvlm_mlx/paths.py",
        "Path(os.path.expanduser(os.fspath(path)))",
        "Path(os.fspath(path))",
        "tests/test_paths.py::test_a_tilde_at_the_beginning_is_the_home_folder",
    ),
    Mutation(
        "lock",
        "fastvlm_mlx/atomic_file.py",
        "            return Lock.HELD\n",
        "            return Lock.UNSUPPORTED\n",
        "tests/test_answer_file.py::test_other_runs_are_kept_out",
    ),
    Mutation(
        "import rule",
        "fastvlm_mlx/timings.py",
        '    """A Progress that nobody looks at."""\n',
        "    from .engine import Engine as Engine\n",
        "tests/test_imports.py::test_packages_import_what_they_may",
    ),
    Mutation(
        "README command",
        "README.md",
        "$ fastvlm-mlx plan 0.5b\n",
        "$ fastvlm-mlx plan 0.6b\n",
        "tests/test_readme.py::test_every_command_of_ours_runs",
    ),
)


def copied(folder: Path) -> Path:
    """A copy of the repository, without what is made from it."""
    ignored = shutil.ignore_patterns(*NOT_COPIED)
    return Path(shutil.copytree(ROOT, folder, ignore=ignored))


def outcome(root: Path, tests: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run tests of a copy, on the copy's code and one core."""
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    environment = {"PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        [*words, *tests],
        cwd=root,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


def check_unchanged(folder: Path) -> str | None:
    """What is wrong with the tests themselves, if anything."""
    done = outcome(copied(folder), sorted({each.test for each in MUTATIONS}))
    return done.stdout if done.returncode else None


def is_noticed(mutation: Mutation, folder: Path) -> bool:
    """Whether the test fails where the mutation is made."""
    root = copied(folder)
    mutation.apply(root)
    noticed = outcome(root, [mutation.test]).returncode == TESTS_FAILED
    shutil.rmtree(root)
    return noticed


def main() -> str | None:
    """Print a line for each mutation; give what is wrong, if anything."""
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(2) as pool:
        folders = [Path(place) / str(number) for number in range(len(MUTATIONS))]
        wrong = pool.submit(check_unchanged, Path(place) / "unchanged")
        found = list(pool.map(is_noticed, MUTATIONS, folders))
        for mutation, noticed in zip(MUTATIONS, found, strict=True):
            said = "noticed by" if noticed else "NOT NOTICED by"
            print(f"{mutation.name:16} {said} {mutation.test}")
        if message := wrong.result():
            return f"Unchanged code fails already:\n{message}"
    return None if all(found) else "A mutation went unnoticed."


if __name__ == "__main__":
    sys.exit(main())
