"""Font families, which of them are held out, and text drawn with marks."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from random import Random

from PIL import ImageDraw, ImageFont

from .holdout import Split
from .palette import Colour
from .scene import Mark, Point


@dataclass(frozen=True)
class Family:
    """A font family inside an installed package."""

    name: str
    package: str
    files: str  # glob pattern inside the package
    weight: float = 1.0  # how often it is drawn, relative to the others
    capitals: bool = False  # without small letters, so that case cannot be read


FAMILIES = (
    Family("Roboto", "font_roboto", "files/*.ttf", 2),
    Family("Source Sans Pro", "font_source_sans_pro", "files/*.ttf", 2),
    Family("Bitstream Vera", "reportlab", "fonts/Vera*.ttf", 2),
    Family("Source Serif Pro", "font_source_serif_pro", "files/*.ttf", 1.5),
    Family("Manrope", "font_manrope", "files/*.ttf"),
    Family("Red Hat Display", "font_rhd", "files/*.ttf"),
    Family("Hanken Grotesk", "font_hanken_grotesk", "files/*.otf"),
    Family("Droid Sans Mono", "captcha", "data/*.ttf"),
    Family("Fredoka One", "font_fredoka_one", "files/*.ttf", 0.5),
    Family("Intuitive", "font_intuitive", "files/*.ttf", 0.4),
    Family("Amatic SC", "font_amatic_sc", "files/*.ttf", 0.4, capitals=True),
    Family("Lato", "font_lato", "files/*.ttf"),
    Family("Caladea", "font_caladea", "files/*.ttf"),
)
UNSEEN = frozenset({"Lato", "Caladea"})  # one sans-serif, one serif: test only
SKIPPED = ("Thin", "ExtraLight", "Variable")  # hairlines vanish at 256 pixels


@dataclass(frozen=True)
class Face:
    """One font file: a family in one weight and slant."""

    path: str
    family: Family

    @property
    def unseen(self) -> bool:
        """Whether its family is kept for the test."""
        return self.family.name in UNSEEN

    def at(self, size: int) -> ImageFont.FreeTypeFont:
        """Open the font at a size in pixels per em."""
        return load_font(self, size)

    def fitting(self, text: str, width: float, size: float) -> int:
        """The largest size, at most `size`, at which the text fits into `width`."""
        at_hundred = self.at(100).getlength(text)
        return max(int(min(size, 100 * width / max(at_hundred, 1))), 4)


@lru_cache(maxsize=256)
def load_font(face: Face, size: int) -> ImageFont.FreeTypeFont:
    """Open a face at a size in pixels per em, at least 4."""
    # Every Pillow has the basic layout, so all machines draw alike.
    basic = ImageFont.Layout.BASIC
    return ImageFont.truetype(face.path, max(size, 4), layout_engine=basic)


@cache
def train_fonts() -> Sequence[Face]:
    """Every face that training may show small and capital letters in."""
    seen = [one for one in FAMILIES if one.name not in UNSEEN and not one.capitals]
    return tuple(face for family in seen for face in faces(family))


def draw_face(random: Random, split: Split) -> Face:
    """A face; in the test split one in three is of a held-out family."""
    unseen = split == "test" and random.random() < 1 / 3
    families = [one for one in FAMILIES if (one.name in UNSEEN) == unseen]
    family = random.choices(families, [one.weight for one in families])[0]
    return random.choice(faces(family))


@cache
def faces(family: Family) -> Sequence[Face]:
    """The faces of a family, by file name.

    Raises:
        ModuleNotFoundError: its package is not installed.
    """
    found = importlib.util.find_spec(family.package)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(
            f"found no package {family.package}, expected it to carry the font "
            f"{family.name}; run: pip install 'fastvlm-mlx[nano]'"
        )
    folder = Path(found.submodule_search_locations[0])
    paths = sorted(folder.glob(family.files))
    kept = [p for p in paths if not any(word in p.name for word in SKIPPED)]
    return tuple(Face(str(path), family) for path in kept)


def write(
    pen: ImageDraw.ImageDraw,
    middle: Point,
    text: str,
    font: ImageFont.FreeTypeFont,
    fill: Colour,
) -> tuple[Mark, ...]:
    """Write one line about its middle; the marks of all characters but spaces."""
    pen.text(middle, text, font=font, fill=fill, anchor="mm")
    left, top = font.getbbox(text, anchor="mm")[:2]
    ink_left, ink_top = font.getbbox(text, anchor="ls")[:2]
    x, baseline = middle[0] + left - ink_left, middle[1] + top - ink_top
    return tuple(
        Mark(character, font.getbbox(character, anchor="ls")).shifted(
            x + font.getlength(text[:place]), baseline
        )
        for place, character in enumerate(text)
        if character != " "
    )
