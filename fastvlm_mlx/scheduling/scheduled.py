"""A request on its way through the scheduler."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..caches.prefixes import EMPTY, Prefix
from ..generation.prefill import PromptPrefill
from ..generation.prepared import Opened
from ..generation.result import Answer, GenerationResult
from ..generation.sampling import Sampler
from ..generation.text_stream import Outlet
from ..images.image import OpenedImage
from ..images.preprocessing import EncodedImage
from ..timings import Timings


class Slots:
    """How many of some requests may run at the same time."""

    def __init__(self, count: int) -> None:
        self.free = count
        self.opening: set[int] = set()
        """Requests that will arrive when their images are open, by any number."""
        self.closed = False
        """Whether none of these requests is wanted any more."""


@dataclass(eq=False)
class ScheduledRequest:
    """A request, its answer so far, and what it holds meanwhile.

    It is waiting until `slots` and the memory have room for it, then being prepared:
    its images are encoded, its prompt is read. Then it is running: each step of the
    model gives it a token. All but `unwanted` belongs to the thread that computes.
    """

    opened: Opened[OpenedImage]
    answer: Answer
    sampler: Sampler
    outlet: Outlet
    slots: Slots
    streamed: bool  # whether somebody waits for each token
    seconds: dict[str, float]  # by part of Timings
    prefix: Prefix = EMPTY
    encoded: dict[str, EncodedImage] = field(default_factory=dict)  # by digest
    prompt: PromptPrefill | None = None  # from the first chunk on
    unwanted: bool = False  # set by any thread

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the answer any more."""
        return self.unwanted or self.slots.closed

    @property
    def missing(self) -> list[OpenedImage]:
        """The images that have to be encoded before its prompt can be read."""
        images = self.opened.images_after(self.prefix)
        return [image for image in images if image.digest not in self.encoded]

    @property
    def first_image(self) -> str | None:
        """The image that it might share with others, if it may share anything."""
        images = self.opened.images
        return images[0].digest if images and self.opened.options.use_cache else None

    def add_times(self, seconds: Mapping[str, float]) -> None:
        """Add to what its parts have taken."""
        for part, each in seconds.items():
            self.seconds[part] = self.seconds.get(part, 0.0) + each

    def add_step(self, seconds: float) -> None:
        """Add the time of one token; the first one ends the prefill."""
        part = "decode" if self.answer.generated else "prefill"
        self.add_times({part: seconds})

    def feed(self, token: int) -> None:
        """Take a token and pass its text on."""
        text = self.answer.feed(token)
        self.outlet.put(text, self.answer.tokens)

    def result(self, peak_memory: int) -> GenerationResult:
        """The answer as it stands."""
        return self.answer.result(Timings(**self.seconds), peak_memory)
