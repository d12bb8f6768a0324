"""The paper's table 10 beside this machine's figures, in Markdown."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.paper.encoders.catalogue import ENCODERS
from benchmarks.paper.headlines import HEADLINES, published_ttft
from benchmarks.paper.methods import METHODS, Method
from benchmarks.paper.prefill import Prefill

HEAD = (
    "| method | tokens | encoder, M | projector, M | paper: encode | prefill | TTFT "
    "| here: encode | prefill | TTFT | ÷ FastVLM: paper | here |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)


YARDSTICK = "FastViTHD", 1024
"""The encoder and side that others are divided by."""


@dataclass(frozen=True)
class Row:
    """One method, measured here; seconds."""

    encode: float
    prefill: Prefill | None  # None: its decoder is not published

    @property
    def ttft(self) -> float | None:
        """As the paper counts: encoders and the prefill of visual tokens."""
        return None if self.prefill is None else self.encode + self.prefill.seconds


def measured_ttft(rows: Mapping[str, Row]) -> dict[str, float]:
    """Seconds by row, of those that are whole."""
    return {name: row.ttft for name, row in rows.items() if row.ttft is not None}


def print_encoders(took: Mapping[tuple[str, int], float]) -> None:
    """Every encoder measured, by itself; seconds by encoder and side."""
    print("| encoder | side | tokens | parameters, M | here, ms | ÷ FastViTHD 1024 |")
    print("|---|---|---|---|---|---|")
    for (name, side), seconds in took.items():
        encoder = ENCODERS[name]
        cells = [
            str(side),
            str(encoder.tokens(side)),
            f"{encoder.parameters / 1e6:.1f}",
            f"{1000 * seconds:.0f}",
            _ratio(seconds, took.get(YARDSTICK)),
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    print()


def print_table(rows: Mapping[str, Row]) -> None:
    """Every method; what was not measured or not published is a dash. Times in ms."""
    here = measured_ttft(rows)
    paper = published_ttft()
    print(HEAD)
    for name, method in METHODS.items():
        cells = [*_counts(method), *_published(method), *_measured(rows.get(name))]
        for ttft in (paper, here):
            cells.append(_ratio(ttft.get(name), ttft.get(method.against)))
        print(f"| {name} | {' | '.join(cells)} |")


def print_headlines(rows: Mapping[str, Row]) -> None:
    """One line for each claim."""
    here = measured_ttft(rows)
    print("\n| claim | paper | here | how counted |\n|---|---|---|---|")
    for headline in HEADLINES:
        paper = headline.value(published_ttft())
        values = paper, headline.value(here)
        cells = [_claimed(value, headline.saving) for value in values]
        print(f"| {headline.claim} | {' | '.join(cells)} | {headline.how()} |")


def print_scaled(rows: Mapping[str, Row]) -> None:
    """Which prefills were calculated from a part."""
    scaled = [
        f"{name}: {row.prefill}"
        for name, row in rows.items()
        if row.prefill is not None and row.prefill.scaled
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
    prefill = None if row.prefill is None else row.prefill.seconds
    cells = row.encode, prefill, row.ttft
    return ["–" if s is None else f"{1000 * s:.0f}" for s in cells]


def _ratio(own: float | None, other: float | None) -> str:
    return "–" if own is None or other is None else f"{own / other:.2f}"


def _claimed(value: float | None, saving: bool) -> str:
    if value is None:
        return "–"
    return f"{value:.0%}" if saving else f"{value:.1f}"
