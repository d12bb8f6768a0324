"""Where the points of a drawn picture come to lie when it is padded and resized."""

from dataclasses import dataclass

Point = tuple[float, float]


@dataclass(frozen=True)
class Placement:
    """A drawn picture within the square that it becomes.

    Attributes:
        scale: pixels of the square per pixel of the drawn picture.
        offset: padding on the left and on top, in pixels of the drawn picture.
    """

    scale: float
    offset: tuple[int, int]

    def point(self, drawn: Point) -> Point:
        """Return where a point of the drawn picture is, in pixels of the square."""
        left, top = self.offset
        return (drawn[0] + left) * self.scale, (drawn[1] + top) * self.scale
