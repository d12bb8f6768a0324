"""How many pixels a picture is looked at with, and what that costs in visual tokens.

Pure arithmetic on the picture's size. Shapes: (H, W) in pixels.
"""

from collections.abc import Iterator
from dataclasses import replace

from ..config import LONGEST_FRAME, FastVLMConfig, VisionConfig
from ..errors import ConfigError, OptionError, PromptError
from ..options import Auto, GenerationOptions
from .preprocessing import TILES, Fit, ImageInfo, Preprocessing, Size

SMALLEST = 256
"""Where "auto" begins, unless training began lower."""


def depends_on_picture(options: GenerationOptions) -> bool:
    """Whether a picture's size has to be known to choose its look."""
    return options.keep_aspect or isinstance(options.resolution, Auto)


def choose_look(
    config: FastVLMConfig, options: GenerationOptions, picture: Size | None = None
) -> Preprocessing:
    """How a picture is looked at.

    With `keep_aspect` the frame's longer side is the resolution, and its shorter one
    the multiple of the stride nearest to the picture's shape.

    Args:
        picture: (H, W), upright; needed where the options depend on it.

    Raises:
        OptionError: a resolution that the encoder does not take, or a budget too small.
    """
    resolution = options.resolution
    if not isinstance(resolution, Auto):
        size = resolution or config.vision_config.image_size
        return _look(config, options, size, picture)
    assert picture is not None  # `depends_on_picture` said so
    return _largest_useful(config, options, resolution, picture)


def check(config: FastVLMConfig, options: GenerationOptions) -> None:
    """Refuse a resolution that is wrong for every picture, and where there is none.

    Raises:
        OptionError, PromptError: as `choose_look` and `positions`.
    """
    resolution = options.resolution
    if isinstance(resolution, Auto):
        _highest(config.vision_config, resolution)
    elif resolution is not None:
        look = _look(config, options, resolution, None)
        if not options.keep_aspect:  # which takes less
            positions(config, look)


def positions(config: FastVLMConfig, look: Preprocessing) -> int:
    """Positions of a prompt that a picture takes, all views together.

    Raises:
        OptionError: a resolution that the encoder does not take.
        PromptError: the picture alone takes more than the model has.
    """
    tokens = visual_tokens(config.vision_config, look)
    if tokens >= config.max_length:
        raise PromptError(
            f"A picture of {_described(look)} takes {tokens} positions; the model has "
            f"{config.max_length}. Lower the resolution."
        )
    return tokens


def visual_tokens(config: VisionConfig, look: Preprocessing) -> int:
    """Visual tokens of a picture, all views together.

    Raises:
        OptionError: a resolution that the encoder does not take.
    """
    try:
        return look.views * config.num_tokens(look.size)
    except ConfigError as error:
        raise OptionError(str(error)) from None


def image_info(config: VisionConfig, look: Preprocessing) -> ImageInfo:
    """What a result says about a picture."""
    return ImageInfo(
        resolution=look.size,
        views=look.views,
        tokens=visual_tokens(config, look),
        outside_training=look.anyres or look.size not in config.trained_sizes,
    )


def _largest_useful(
    config: FastVLMConfig, options: GenerationOptions, auto: Auto, picture: Size
) -> Preprocessing:
    """The least resolution that shows every pixel, or the largest in the budget."""
    vision, budget = config.vision_config, options.max_visual_tokens
    enough, sides = _useful_side(config, options, picture), list[int]()
    for side in _candidates(vision, auto):
        sides.append(side)
        if side >= enough:
            break
    for side in reversed(sides):
        look = _look(config, options, (side, side), picture)
        if budget is None or visual_tokens(vision, look) <= budget:
            return look
    least = _look(config, options, (sides[0], sides[0]), picture)
    raise OptionError(
        f"max_visual_tokens is {budget}; a picture of {picture[0]}x{picture[1]} takes "
        f"{visual_tokens(vision, least)} at the smallest resolution, "
        f"{_described(least)}. Raise it, or ask for a smaller resolution by number."
    )


def _candidates(config: VisionConfig, auto: Auto) -> Iterator[int]:
    """Sides that "auto" may take, ascending: trained ones where several are known."""
    trained = sorted(max(size) for size in config.trained_sizes)
    highest, stride = _highest(config, auto), config.stride
    within = trained
    if len(trained) == 1:
        lowest = min(-(-SMALLEST // stride) * stride, trained[0])
        within = [*range(lowest, trained[0], stride), trained[0]]
    if highest < within[0]:
        yield highest
    yield from (side for side in within if side <= highest)
    yield from range(trained[-1] + stride, highest + 1, stride)


def _highest(config: VisionConfig, auto: Auto) -> int:
    """The largest side that "auto" may take."""
    if auto.at_most is None:
        return max(max(size) for size in config.trained_sizes)
    if auto.at_most % config.stride or auto.at_most <= 0:
        raise OptionError(
            f"resolution is auto:{auto.at_most}; expected a positive multiple of "
            f"{config.stride}."
        )
    return auto.at_most


def _useful_side(
    config: FastVLMConfig, options: GenerationOptions, picture: Size
) -> int:
    """The side of a frame in which no pixel of the picture has to be dropped."""
    crops = (options.image_mode or config.image_mode) == "crop"
    side = min(picture) if crops and not options.keep_aspect else max(picture)
    return -(-side // TILES) if options.anyres else side


def _look(
    config: FastVLMConfig, options: GenerationOptions, size: Size, picture: Size | None
) -> Preprocessing:
    mode: Fit = options.image_mode or config.image_mode
    look = Preprocessing(size, mode, options.exact_pixels, options.anyres)
    visual_tokens(config.vision_config, look)  # a wrong resolution is refused here
    if options.keep_aspect and picture is not None:
        size, mode = _frame(config.vision_config, max(size), picture)
        look = replace(look, size=size, mode=mode)
    return look


def _frame(config: VisionConfig, longer: int, picture: Size) -> tuple[Size, Fit]:
    """The frame of a picture's shape, and how the picture comes to fill it.

    Its shape is off by half a token's side at most. A strip so thin that this would
    widen it several times is centred on black instead.
    """
    stride, long, short = config.stride, max(picture), min(picture)
    nearest = (2 * longer * short + stride * long) // (2 * stride * long) * stride
    least = stride * -(-longer // (LONGEST_FRAME * stride))
    shorter = min(max(nearest, least), longer)
    size = (shorter, longer) if picture[0] <= picture[1] else (longer, shorter)
    return size, "stretch" if nearest >= least else "pad"


def _described(look: Preprocessing) -> str:
    views = f" in {look.views} views" if look.anyres else ""
    return f"{look.size[0]}x{look.size[1]}{views}"
