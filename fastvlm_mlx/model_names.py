"""Short names of Apple's published models, such as "0.5b" or "7b-4bit".

A size alone is the model as it was published; with bits, its language model is
quantized on this machine when it is first used.
"""

import re

REPOSITORIES = {
    "0.5b": "apple/FastVLM-0.5B",
    "1.5b": "apple/FastVLM-1.5B",
    "7b": "apple/FastVLM-7B",
}
"""Where the sizes are published (https://huggingface.co/apple)."""

SHORT_NAMES = ("nano", *REPOSITORIES, *(f"{size}-4bit" for size in REPOSITORIES))
"""What is worth suggesting; other bits may be said as well."""

_SHORT = re.compile(r"(0\.5b|1\.5b|7b)(?:-([234568])bit)?", re.IGNORECASE)


def published_model(name: str) -> tuple[str, int | None] | None:
    """The hub id that a short name means, and the bits to quantize to; None if it is
    not one.

    >>> published_model("0.5b-4bit")
    ('apple/FastVLM-0.5B', 4)
    """
    found = _SHORT.fullmatch(name)
    if found is None:
        return None
    return REPOSITORIES[found[1].lower()], int(found[2]) if found[2] else None
