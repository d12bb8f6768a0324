"""The paper's table 10 beside this machine's figures, in Markdown."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.paper.headlines import HEADLINES, published_ttft
from benchmarks.paper.methods import METHODS, Method
from benchmarks.paper.prefill import Prefill

HEAD = (
    "| method | tokens | encoder, M | projector, M | paper: encode | prefill | TTFT "
    "| here: encode | prefill | TTFT | ÷ FastVLM: paper | here |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Row:
    """One method, measured here; seconds."""

    encode: float
    prefill: Prefill

    @property
    def ttft(self) -> float:
        """As the paper counts: encoders and the prefill of visual tokens."""
        return self.encode + self.prefill.seconds


def print_table(rows: Mapping[str, Row]) -> None:
    """Every method; what was not measured or not published is a dash. Times in ms."""
    here = {name: row.ttft for name, row in rows.items()}
    paper = published_ttft()
    print(HEAD)
    for name, method in METHODS.items():
        cells = [*_counts(method), *_published(method), *_measured(rows.get(name))]
        for ttft in (paper, here):
            cells.append(_ratio(ttft.get(name), ttft.get(method.against)))
        print(f"| {name} | {' | '.join(cells)} |")


def print_headlines(rows: Mapping[str, Row]) -> None:
    """One line for each claim."""
    here = {name: row.ttft for name, row in rows.items()}
    print("\n| claim | paper | here | how counted |\n|---|---|---|---|")
    for headline in HEADLINES:
        paper = headline.value(published_ttft())
        values = paper, headline.value(here)
        cells = [_claimed(value, headline.saving) for value in values]
        print(f"| {headline.claim} | {' | '.join(cells)} | {headline.how()} |")


def print_scaled(rows: Mapping[str, Row]) -> None:
    """Which prefills were calculated from a part."""
    scaled = [
        f"{name}: {row.prefill}" for name, row in rows.items() if row.prefill.scaled
    ]
    if scaled:
        print("\nPrefills scaled from measured parts:\n- " + "\n- ".join(scaled))


def _counts(method: Method) -> list[str]:
    projector = method.projector_parameters
    return [
        str(method.tokens),
        f"{method.encoder_parameters / 1e6:.0f}",
        method.projector if projector is None else f"{projector / 1e6:.1f}",
    ]


def _published(method: Method) -> list[str]:
    latency = method.latency
    if latency is None:
        return ["–"] * 3
    cells = latency.encode, latency.prefill, latency.ttft
    return ["–" if ms is None else f"{ms:.1f}" for ms in cells]


def _measured(row: Row | None) -> list[str]:
    if row is None:
        return ["–"] * 3
    return [f"{1000 * s:.0f}" for s in (row.encode, row.prefill.seconds, row.ttft)]


def _ratio(own: float | None, other: float | None) -> str:
    return "–" if own is None or other is None else f"{own / other:.2f}"


def _claimed(value: float | None, saving: bool) -> str:
    if value is None:
        return "–"
    return f"{value:.0%}" if saving else f"{value:.1f}"
