"""Ours beside its peers, in turn: `python -m benchmarks.peers`.

mlx-vlm as shipped, mlx-vlm with the same BLAS, mlx-lm's decoder with the same BLAS,
and torch with timm's fused tower. MLX's peers run in processes of their own, so that
nothing of ours is in them; a peer that is not installed is named and left out. On a
GPU the same jobs run on that GPU. mlx-vlm may live in an interpreter of its own
(`--peer-python`), since its dependencies need not agree with ours.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.encode import our_job, torch_job
from benchmarks.measuring.geometry import (
    LANGUAGE_MODELS,
    random_language_model,
    random_tower,
)
from benchmarks.measuring.harness import report
from benchmarks.measuring.parts import (
    PREFIX,
    SUFFIX,
    Answerer,
    decode_job,
    draw_picture,
    prefill_job,
)
from fastvlm_mlx.device import blas
from fastvlm_mlx.device.backend import current, mx, pick_dtype

PROCESS = Path(__file__).parent / "measuring" / "peer_process.py"
TASKS = ("encode", "prefill", "decode", "first_token")

Timed = Callable[[], float]
"""Does its job once and says how many seconds it took."""


class Unavailable(Exception):
    """A peer cannot be measured here; the text says why."""


class Peer:
    """A peer in its own process, started with its first job."""

    def __init__(self, python: str, name: str, loader: str | None) -> None:
        command = [python, "-P", str(PROCESS), name]
        command += ["--blas", loader] if loader else []
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def seconds(self, request: dict[str, Any]) -> float:
        """What the peer says its job took."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Unavailable("its process ended") from None
        line = self._process.stdout.readline()
        found = json.loads(line) if line else {"error": "its process ended"}
        if "error" in found:
            raise Unavailable(found["error"])
        return float(found["seconds"])

    def close(self) -> None:
        """End the process, which waits for the next line."""
        self._process.communicate()


def our_jobs(arguments: argparse.Namespace) -> dict[str, Timed]:
    """Each task once, in this process."""
    if arguments.task == "encode":
        jobs = {"ours": our_job(random_tower(), arguments.side)}
        wanted = current() == "cpu" and "torch" in arguments.peers
        of_torch = torch_job() if wanted else None
        if of_torch is not None:
            jobs["torch fused"] = of_torch(arguments.side)
        return {name: _timed(job) for name, job in jobs.items()}
    if arguments.task == "first_token":
        answerer = Answerer(arguments.size, arguments.bits)
        picture = draw_picture(arguments.side)
        return {"ours": _timed(lambda: answerer.first_token(picture, arguments.side))}
    model = random_language_model(arguments.size, arguments.bits)
    positions = PREFIX + (arguments.side // 64) ** 2 + SUFFIX
    job = (
        prefill_job(model, positions)
        if arguments.task == "prefill"
        else decode_job(model, positions, arguments.tokens)
    )
    return {"ours": _timed(job)}


def peer_jobs(
    arguments: argparse.Namespace, peers: dict[str, Peer]
) -> dict[str, Timed]:
    """The same task in each peer that has it."""
    dtype = str(pick_dtype()).removeprefix("mlx.core.")
    request = {
        "job": arguments.task,
        "side": arguments.side,
        "positions": PREFIX + (arguments.side // 64) ** 2 + SUFFIX,
        "tokens": arguments.tokens,
        "bits": arguments.bits,
        "dtype": dtype,
        "text": asdict(LANGUAGE_MODELS[arguments.size]),
    }
    if arguments.task == "first_token":
        request["picture"] = draw_picture(arguments.side).hex()

    def timed(peer: Peer) -> Timed:
        return lambda: peer.seconds(request)

    return {name: timed(peer) for name, peer in peers.items()}


def start_peers(arguments: argparse.Namespace) -> dict[str, Peer]:
    """Those that can do the task; each is told whether its BLAS was replaced."""
    loader = blas.__file__ if blas.load() else None
    peers = {}
    wanted = arguments.peers
    if "shipped" in wanted:
        peers["mlx-vlm as shipped"] = Peer(arguments.peer_python, "mlx-vlm", None)
    if "blas" in wanted and loader:
        peers["mlx-vlm, same BLAS"] = Peer(arguments.peer_python, "mlx-vlm", loader)
    if "mlx-lm" in wanted and arguments.task in ("prefill", "decode"):
        peers["mlx-lm, same BLAS"] = Peer(sys.executable, "mlx-lm", loader)
    return peers


def in_turn(
    jobs: dict[str, Timed], runs: int, cold: Collection[str]
) -> dict[str, float]:
    """Median seconds by name; one that fails is named and left out.

    The first turn warms up, and those in `cold` have none.
    """
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(runs + 1):
        for name in [each for each in times if turn or each not in cold]:
            try:
                took = jobs[name]()
            except Unavailable as error:
                print(f"{name}: left out, {error}")
                del times[name]
                continue
            if turn:
                times[name].append(took)
    return {name: statistics.median(each) for name, each in times.items()}


def _timed(job: Callable[[], object]) -> Timed:
    def run() -> float:
        start = time.perf_counter()
        job()
        return time.perf_counter() - start

    return run


def main() -> None:
    """Print seconds and how many times ours they are, and a line of JSON."""
    parser = argparse.ArgumentParser(description="Ours beside its peers, in turn.")
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--side", type=int, default=1024, help="pixels of the picture")
    parser.add_argument("--size", choices=LANGUAGE_MODELS, default="0.5B")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=8, help="of one decode")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument(
        "--cold",
        action="store_true",
        help="no warm-up for the peers, where each run takes minutes",
    )
    parser.add_argument("--peer-python", default=sys.executable, metavar="PATH")
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=["shipped", "blas", "mlx-lm", "torch"],
        default=["shipped", "blas", "mlx-lm", "torch"],
    )
    arguments = parser.parse_args()
    print("on", mx.default_device(), pick_dtype(), flush=True)
    peers = start_peers(arguments)
    jobs = our_jobs(arguments) | peer_jobs(arguments, peers)
    results = in_turn(jobs, arguments.runs, peers if arguments.cold else ())
    for name, took in results.items():
        ratio = took / results["ours"]
        print(f"{arguments.task} {name:20} {took:8.3f} s   {ratio:6.2f} times ours")
    for peer in peers.values():
        peer.close()
    report("peers", {**vars(arguments), "seconds": results})


if __name__ == "__main__":
    main()
