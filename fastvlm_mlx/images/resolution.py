"""How many pixels an image is looked at with, and what that costs in visual tokens.

Pure arithmetic on the image's size. Shapes: (H, W) in pixels.
"""

from collections.abc import Iterator
from dataclasses import replace

from ..config import LONGEST_FRAME, FastVLMConfig, VisionConfig
from ..errors import ConfigError, OptionError, PromptError
from ..options import Auto, GenerationOptions
from .preprocessing import TILES, Fit, ImageInfo, Preprocessing, Size

SMALLEST = 256
"""Where "auto" begins, unless training began lower."""


def depends_on_image(options: GenerationOptions) -> bool:
    """Whether an image's size has to be known to choose its look."""
    return options.keep_aspect or isinstance(options.resolution, Auto)


def choose_preprocessing(
    config: FastVLMConfig, options: GenerationOptions, image: Size | None = None
) -> Preprocessing:
    """How an image is looked at.

    With `keep_aspect` the frame's longer side is the resolution, and its shorter one
    the multiple of the stride nearest to the image's shape.

    Args:
        image: (H, W), upright; needed where the options depend on it.

    Raises:
        OptionError: a resolution that the encoder does not take, or a budget too small.
    """
    resolution = options.resolution
    if not isinstance(resolution, Auto):
        size = resolution or config.vision_config.image_size
        return _preprocessing(config, options, size, image)
    assert image is not None  # `depends_on_image` said so
    return _largest_useful(config, options, resolution, image)


def check(config: FastVLMConfig, options: GenerationOptions) -> None:
    """Refuse a resolution that is wrong for every image, and where there is none.

    Raises:
        OptionError, PromptError: as `choose_look` and `positions`.
    """
    resolution = options.resolution
    if isinstance(resolution, Auto):
        _highest(config.vision_config, resolution)
    elif resolution is not None:
        prep = _preprocessing(config, options, resolution, None)
        if not options.keep_aspect:  # which takes less
            positions(config, prep)


def positions(config: FastVLMConfig, prep: Preprocessing) -> int:
    """Positions of a prompt that an image takes, all views together.

    Raises:
        OptionError: a resolution that the encoder does not take.
        PromptError: the image alone takes more than the model has.
    """
    tokens = visual_tokens(config.vision_config, prep)
    if tokens >= config.max_length:
        raise PromptError(
            f"An image of {_described(prep)} takes {tokens} positions; the model has "
            f"{config.max_length}. Lower the resolution."
        )
    return tokens


def visual_tokens(config: VisionConfig, prep: Preprocessing) -> int:
    """Visual tokens of an image, all views together.

    Raises:
        OptionError: a resolution that the encoder does not take.
    """
    try:
        return prep.views * config.num_tokens(prep.size)
    except ConfigError as error:
        raise OptionError(str(error)) from None


def image_info(config: VisionConfig, prep: Preprocessing) -> ImageInfo:
    """What a result says about an image."""
    return ImageInfo(
        resolution=prep.size,
        views=prep.views,
        tokens=visual_tokens(config, prep),
        outside_training=prep.anyres or prep.size not in config.trained_sizes,
    )


def _largest_useful(
    config: FastVLMConfig, options: GenerationOptions, auto: Auto, image: Size
) -> Preprocessing:
    """The least resolution that shows every pixel, or the largest in the budget."""
    vision, budget = config.vision_config, options.max_visual_tokens
    enough, sides = _useful_side(config, options, image), list[int]()
    for side in _candidates(vision, auto):
        sides.append(side)
        if side >= enough:
            break
    for side in reversed(sides):
        prep = _preprocessing(config, options, (side, side), image)
        if budget is None or visual_tokens(vision, prep) <= budget:
            return prep
    least = _preprocessing(config, options, (sides[0], sides[0]), image)
    raise OptionError(
        f"max_visual_tokens is {budget}; an image of {image[0]}x{image[1]} takes "
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


def _useful_side(config: FastVLMConfig, options: GenerationOptions, image: Size) -> int:
    """The side of a frame in which no pixel of the image has to be dropped."""
    crops = (options.image_mode or config.image_mode) == "crop"
    side = min(image) if crops and not options.keep_aspect else max(image)
    return -(-side // TILES) if options.anyres else side


def _preprocessing(
    config: FastVLMConfig, options: GenerationOptions, size: Size, image: Size | None
) -> Preprocessing:
    mode: Fit = options.image_mode or config.image_mode
    prep = Preprocessing(size, mode, options.exact_pixels, options.anyres)
    visual_tokens(config.vision_config, prep)  # a wrong resolution is refused here
    if options.keep_aspect and image is not None:
        size, mode = _frame(config.vision_config, max(size), image)
        prep = replace(prep, size=size, mode=mode)
    return prep


def _frame(config: VisionConfig, longer: int, image: Size) -> tuple[Size, Fit]:
    """The frame of an image's shape, and how the image comes to fill it.

    Its shape is off by half a token's side at most. A strip so thin that this would
    widen it several times is centred on black instead.
    """
    stride, long, short = config.stride, max(image), min(image)
    nearest = (2 * longer * short + stride * long) // (2 * stride * long) * stride
    least = stride * -(-longer // (LONGEST_FRAME * stride))
    shorter = min(max(nearest, least), longer)
    size = (shorter, longer) if image[0] <= image[1] else (longer, shorter)
    return size, "stretch" if nearest >= least else "pad"


def _described(prep: Preprocessing) -> str:
    views = f" in {prep.views} views" if prep.anyres else ""
    return f"{prep.size[0]}x{prep.size[1]}{views}"
