"""A JPEG file to the model's pixels: `python -m benchmarks.pixels [PICTURE …]`.

Decoded smaller, as is the default, beside every pixel decoded; upright and lying on its
side; and by how much the two differ. Without pictures of your own, one is drawn whose
amplitudes fall with frequency as those of photographs do.
"""

import argparse
import io
import statistics
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from benchmarks.measuring.harness import report, time_in_turn
from fastvlm_mlx.config import IMAGE_MODES, ImageMode
from fastvlm_mlx.images.decode import open_image
from fastvlm_mlx.images.resize import Pixels, prepare

TWELVE_MEGAPIXELS = (4032, 3024)
ON_ITS_SIDE = 6


def main() -> None:
    """Print a line for each picture, and a line of JSON."""
    parser = argparse.ArgumentParser(description="Time a JPEG file to pixels.")
    parser.add_argument("pictures", nargs="*", type=Path, metavar="PICTURE")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--mode", choices=IMAGE_MODES, default="pad")
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    results = {}
    for name, data in _files(arguments.pictures).items():
        found = measure(data, arguments.side, arguments.mode, arguments.runs)
        print(
            f"{name:36}"
            f"smaller {found['smaller']:6.1f} ms   whole {found['whole']:6.1f} ms   "
            f"differ by {found['mean']:.2f} in the mean, 99.9 % by at most "
            f"{found['most']:.0f}, all by at most {found['all']:.0f} of 255",
            flush=True,
        )
        results[name] = found
    report("pixels", results)


def measure(data: bytes, side: int, mode: ImageMode, runs: int) -> dict[str, float]:
    """Median milliseconds of both ways, and how far their pixels are apart."""
    size = (side, side)

    def pixels(decode_for: tuple[int, int] | None) -> Pixels:
        return prepare(open_image(data, decode_for, mode), size, mode)

    jobs = {"smaller": lambda: pixels(size), "whole": lambda: pixels(None)}
    took = {name: 1000 * each for name, each in time_in_turn(jobs, runs).items()}
    off = np.abs(pixels(size).astype(int) - pixels(None))
    apart = {"mean": off.mean(), "most": np.quantile(off, 0.999), "all": off.max()}
    return took | {name: float(value) for name, value in apart.items()}


def _files(pictures: list[Path]) -> dict[str, bytes]:
    """Each picture as it is, and marked as lying on its side."""
    files = {path.name: path.read_bytes() for path in pictures}
    if not files:
        files = {"drawn, 12 megapixels": _jpeg(drawn(*TWELVE_MEGAPIXELS))}
    lying = {f"{name}, on its side": _turned(data) for name, data in files.items()}
    return files | lying


def drawn(width: int, height: int) -> Image.Image:
    """Noise with the spectrum of a photograph, in colour."""
    generator = np.random.default_rng(0)
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    falloff = 1 / (np.hypot(rows, columns) + 1 / width)
    channels = []
    for _ in range(3):
        spectrum = np.fft.rfft2(generator.normal(size=(height, width))) * falloff
        channels.append(np.fft.irfft2(spectrum, (height, width)))
    values = np.stack(channels, axis=-1)
    values = values.mean(axis=-1, keepdims=True) + 0.2 * values  # mostly grey
    values = values / statistics.fmean(channel.std() for channel in channels)
    return Image.fromarray((values * 80 + 128).clip(0, 255).astype(np.uint8))


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def _turned(data: bytes) -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation] = ON_ITS_SIDE
    Image.open(io.BytesIO(data)).save(file, "JPEG", quality="keep", exif=exif)
    return file.getvalue()


if __name__ == "__main__":
    main()
