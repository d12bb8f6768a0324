"""Whether pictures can be drawn, asked before anything is measured for them."""

from importlib.util import find_spec


def require_matplotlib(what: str) -> None:
    """Refuse to begin what could not be finished.

    Args:
        what: the program or option that draws, the sentence's subject.

    Raises:
        SystemExit: matplotlib is missing.
    """
    if find_spec("matplotlib") is None:
        raise SystemExit(
            f"{what} draws a picture, which needs matplotlib: "
            "pip install 'fastvlm-mlx[benchmark]'."
        )
