"""The ninths of a picture and their names."""

from benchmarks.nano.tasks.ground import Size

NINTHS = (
    *("top left", "top", "top right"),
    *("left", "middle", "right"),
    *("bottom left", "bottom", "bottom right"),
)
UNPLAIN = 0.05  # So near a border, as a share of the picture, nobody is sure.


def ninth(point: tuple[float, float], size: Size) -> str | None:
    """Name the ninth of the picture that holds a point: "top left".

    Returns:
        None near a border between two ninths.
    """
    x, y = point[0] / size[0], point[1] / size[1]
    if any(abs(at - edge) < UNPLAIN for at in (x, y) for edge in (1 / 3, 2 / 3)):
        return None
    return NINTHS[3 * int(y * 3) + int(x * 3)]
