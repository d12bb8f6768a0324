"""How a picture is looked at: in which resolution, whole or in tiles."""

from dataclasses import dataclass

STATIC, ANYRES = "static", "anyres"
METHODS = (STATIC, ANYRES)

GRID = 2
"""AnyRes cuts the picture into so many rows and columns, and adds an overview."""


@dataclass(frozen=True)
class Setting:
    """`resolution` is the side of the whole picture, in pixels, for both methods."""

    method: str
    resolution: int

    @property
    def order(self) -> tuple[int, int]:
        """To sort by: static first, small ones first."""
        return METHODS.index(self.method), self.resolution

    @property
    def side(self) -> int:
        """Pixels of what the encoder sees at a time."""
        return self.resolution // GRID if self.method == ANYRES else self.resolution

    @property
    def pictures(self) -> int:
        """What the encoder sees: the picture, or its tiles and the overview."""
        return GRID**2 + 1 if self.method == ANYRES else 1

    def tokens(self, stride: int) -> int:
        """Visual tokens, for an encoder of `stride` pixels per token along one side."""
        return self.pictures * (self.side // stride) ** 2

    def fits(self, stride: int) -> bool:
        """Whether the sides come out even."""
        whole = self.side * (GRID if self.method == ANYRES else 1)
        return whole == self.resolution and self.side > 0 and not self.side % stride

    def __str__(self) -> str:
        return f"{self.method} {self.resolution}"
