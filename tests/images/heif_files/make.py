"""Made the .heic files of this folder; needs pillow-heif, for libheif's encoder.

    python tests/images/heif_files/make.py

Each shows `drawn`, lying as its name says. What an iPhone writes (tiles, a turn that
EXIF repeats, a thumbnail, a depth map) no encoder at hand does, so that one file is
put together here, of images that were encoded one by one (ISO/IEC 23008-12).
"""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageDraw

HERE = Path(__file__).parent
TILE = 64
SIZE = (112, 80)  # 2 x 2 tiles, of which the right and the lower ones stand out


def drawn(size: tuple[int, int] = SIZE) -> Image.Image:
    """A red disc and a blue bar on a grey ramp: unlike itself however it is turned."""
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    width, height = size
    pen = ImageDraw.Draw(image)
    pen.ellipse((width // 8, height // 8, width // 2, height * 5 // 8), fill="red")
    pen.rectangle((width * 5 // 8, height // 4, width * 7 // 8, height), fill="blue")
    return image


def transparent() -> Image.Image:
    """Its left half fades into nothing."""
    image = drawn().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").rotate(90).resize(SIZE))
    return image


def box(
    kind: bytes, *parts: bytes, version: int | None = None, flags: int = 0
) -> bytes:
    body = b"".join(parts)
    if version is not None:
        body = struct.pack(">L", version << 24 | flags) + body
    return struct.pack(">L4s", 8 + len(body), kind) + body


def encoded(image: Image.Image, **options: Any) -> bytes:
    import pillow_heif  # type: ignore[import-not-found,unused-ignore]

    file = io.BytesIO()
    heif = pillow_heif.from_pillow(image)
    heif.save(file, quality=90, chroma=444, **options)
    return file.getvalue()


def parts_of(heic: bytes) -> tuple[bytes, bytes]:
    """The box hvcC and the coded image of a file that holds one image alone."""
    place = heic.index(b"hvcC") - 4
    (length,) = struct.unpack_from(">L", heic, place)
    data = heic.index(b"mdat") + 4
    return heic[place : place + length], heic[data:]


def photo() -> bytes:
    """As an iPhone held upright writes it: stored lying, turned by irot and EXIF."""
    lying = drawn((SIZE[1], SIZE[0])).transpose(Image.Transpose.ROTATE_90)
    padded = Image.fromarray(
        np.pad(
            np.asarray(lying),
            ((0, 2 * TILE - SIZE[1]), (0, 2 * TILE - SIZE[0]), (0, 0)),
            mode="edge",
        )
    )
    squares = [(x, y, x + TILE, y + TILE) for y in (0, TILE) for x in (0, TILE)]
    tiles = [parts_of(encoded(padded.crop(square))) for square in squares]
    thumbnail = parts_of(encoded(Image.new("RGB", (TILE, TILE), "lime")))
    depth = parts_of(encoded(Image.new("L", (TILE, TILE), 77)))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    metadata = b"\0\0\0\6Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    grid = bytes([0, 0, 1, 1]) + struct.pack(">HH", *SIZE)
    items = [
        *((b"hvc1", data, 0) for _, data in tiles),
        (b"grid", grid, 1),
        (b"Exif", metadata, 0),
        (b"hvc1", thumbnail[1], 0),
        (b"hvc1", depth[1], 0),
    ]
    side = box(b"ispe", struct.pack(">LL", TILE, TILE), version=0)
    properties = [
        tiles[0][0],  # 1
        side,  # 2
        box(b"ispe", struct.pack(">LL", *SIZE), version=0),  # 3
        box(b"irot", b"\3"),  # 4, 270 degrees anticlockwise
        thumbnail[0],  # 5
        depth[0],  # 6
        box(b"auxC", b"urn:mpeg:hevc:2015:auxid:2\0", version=0),  # 7
    ]
    assert all(tile[0] == tiles[0][0] for tile in tiles)
    of_items = [[1, 2]] * 4 + [[3, 4], [], [5, 2, 4], [6, 2, 7, 4]]
    return assembled(items, properties, of_items)


def assembled(
    items: list[tuple[bytes, bytes, int]],
    properties: list[bytes],
    of_items: list[list[int]],
) -> bytes:
    """A file of items (kind, data, whether in the box idat); the fifth is primary."""
    head = box(b"ftyp", b"heic", b"\0\0\0\0", b"mif1heic")
    meta = b""
    for _ in range(2):  # the second time its length is known
        place, inside = len(head) + len(meta) + 8, 0
        places = b""
        for number, (_, data, kept_inside) in enumerate(items, 1):
            start = inside if kept_inside else place
            places += struct.pack(
                ">HHHHLL", number, kept_inside, 0, 1, start, len(data)
            )
            inside, place = (
                (inside + len(data), place)
                if kept_inside
                else (inside, place + len(data))
            )
        meta = box(
            b"meta",
            box(b"hdlr", bytes(4), b"pict", bytes(13), version=0),
            box(b"pitm", struct.pack(">H", 5), version=0),
            box(b"iloc", b"\x44\0", struct.pack(">H", len(items)), places, version=1),
            box(
                b"iinf",
                struct.pack(">H", len(items)),
                *map(entry, range(1, len(items) + 1), (item[0] for item in items)),
                version=0,
            ),
            box(
                b"iref",
                box(b"dimg", struct.pack(">HH4H", 5, 4, 1, 2, 3, 4)),
                box(b"cdsc", struct.pack(">HHH", 6, 1, 5)),
                box(b"thmb", struct.pack(">HHH", 7, 1, 5)),
                box(b"auxl", struct.pack(">HHH", 8, 1, 5)),
                version=0,
            ),
            box(b"iprp", box(b"ipco", *properties), associations(of_items)),
            box(b"idat", *(data for _, data, kept_inside in items if kept_inside)),
            version=0,
        )
    outside = [data for _, data, kept_inside in items if not kept_inside]
    return head + meta + box(b"mdat", *outside)


def entry(number: int, kind: bytes) -> bytes:
    hidden = number < 5
    return box(
        b"infe", struct.pack(">HH4s", number, 0, kind), b"\0", version=2, flags=hidden
    )


def associations(of_items: list[list[int]]) -> bytes:
    rows = b""
    for number, places in enumerate(of_items, 1):
        if places:
            rows += struct.pack(">HB", number, len(places)) + bytes(
                0x80 | p for p in places
            )
    count = sum(map(bool, of_items))
    return box(b"ipma", struct.pack(">L", count), rows, version=0)


def main() -> None:
    import pillow_heif

    files = {
        "plain": encoded(drawn()),
        "alpha": encoded(transparent()),
        "grey": encoded(drawn().convert("L")),
        "photo": photo(),
    }
    for number in range(1, 9):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = number
        files[f"turned_{number}"] = encoded(drawn(), exif=exif.tobytes())
    ten = np.asarray(drawn()).astype("<u2") * 257
    file = io.BytesIO()
    pillow_heif.encode("RGB;16", SIZE, ten.tobytes(), file, quality=90, chroma=444)
    files["ten_bits"] = file.getvalue()
    ten = np.asarray(drawn().convert("L")).astype("<u2") * 257
    file = io.BytesIO()
    pillow_heif.encode("L;16", SIZE, ten.tobytes(), file, quality=90)
    files["grey_ten_bits"] = file.getvalue()
    for name, data in files.items():
        (HERE / f"{name}.heic").write_bytes(data)


if __name__ == "__main__":
    main()
