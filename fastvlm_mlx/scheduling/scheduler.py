"""The loop: which request gets what the device can do next.

Requests are added and cancelled by any thread, at any time. The thread that computes
takes turns: a token for every running answer, then at most one unit of other work, one
image encoded or one chunk of prompts read. So a newcomer delays running answers by one
unit at a time, and a request that is cancelled is gone after one unit and one step.
Where nobody waits for single tokens, as in a batch, units come before steps: more
answers then share each step.

A unit that fails ends the requests that it was for; nobody else notices.
"""

import functools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from ..caches.caches import Caches
from ..device.backend import mx
from ..device.thread import device_thread
from ..generation.decode import DecodeOne, Decoding
from ..generation.prefill import Prefill, PromptPrefill, length_buckets
from ..images.encoder import ImageEncoder, fill_up
from ..images.image import OpenedImage
from ..model.fastvlm import FastVLMModel
from ..planning.memory_plan import fit_together
from ..timings import Stopwatch
from .scheduled import ScheduledRequest

SHORT_CHUNK = 512
"""Positions of prompts that are read between two tokens of an answer that streams."""

GATHER = 0.05
"""Seconds that an idle device waits for images being opened for the same batch."""

_log = logging.getLogger(__name__)


class Scheduler:
    """Schedules the requests of one model.

    Args:
        limit: bytes that the model and all its work may take.
    """

    def __init__(
        self, model: FastVLMModel, encoder: ImageEncoder, caches: Caches, limit: int
    ) -> None:
        self._model = model
        self._encoder = encoder
        self._caches = caches
        self._limit = limit
        self._arrived: deque[ScheduledRequest] = deque()
        self._decoding: Decoding[ScheduledRequest] = Decoding(model)
        self._prefill: Prefill | None = None
        self._reading: list[ScheduledRequest] = []  # whose prompts `_prefill` reads
        self._overtaken = False  # whether the first in line was passed by another
        self.waiting: list[ScheduledRequest] = []
        self.preparing: list[ScheduledRequest] = []  # they have a place
        self.units = self.steps = 0  # done so far

    @property
    def running(self) -> list[ScheduledRequest]:
        """The requests that get a token with each step."""
        return self._decoding.keys

    def add(self, request: ScheduledRequest) -> Callable[[], None]:
        """Have a request answered; any thread may call this.

        Returns:
            How to cancel it: a call that never waits.

        Raises:
            DeviceError: nothing can be computed in this process.
        """
        self._arrived.append(request)
        device_thread.wake(self)

        def cancel() -> None:
            request.unwanted = True

        return cancel

    def turn(self) -> bool:
        """A step and a unit; whether there is more to do."""
        self._take_in()
        if self._nobody_waits_for_tokens():
            self._gather()
            while self._nobody_waits_for_tokens() and self._unit():
                self._take_in()
            self._step()
        else:
            self._step()
            self._unit()
        return bool(self.waiting or self.preparing or self.running)

    def _gather(self) -> None:
        """Wait a moment for a batch's first requests, to begin with all of them."""
        until = time.perf_counter() + GATHER
        while (
            not self.running
            and self._nobody_waits_for_tokens()
            and any(each.slots.free and each.slots.opening for each in self.preparing)
        ):
            if time.perf_counter() > until:
                return
            time.sleep(0.001)
            self._take_in()

    def abort(self, error: Exception | None) -> None:
        """End every request with an error; without one they count as cancelled."""
        self.waiting += self._arrived
        self._arrived.clear()
        self._fail([*self.waiting, *self.preparing, *self.running], error)

    # --- who gets in, who goes ----------------------------------------------------

    def _take_in(self) -> None:
        """New requests come, cancelled ones go, and free places are given away."""
        if not (self.waiting or self.preparing or self.running):
            mx.reset_peak_memory()
        while self._arrived:
            self.waiting.append(self._arrived.popleft())
        everybody = (*self.waiting, *self.preparing, *self.running)
        gone = [request for request in everybody if request.cancelled]
        if gone:
            self._end(gone)
        self._admit()

    def _admit(self) -> None:
        """Let requests in, in the order of arrival, as places and memory allow."""
        for request in [*self.waiting]:
            if not request.slots.free or self._must_follow(request):
                continue
            together = [*self.preparing, *self.running]
            plans = [each.opened.memory for each in (*together, request)]
            if together and not fit_together(plans, self._limit):
                return  # those behind it may not pass, or it might wait for ever
            request.slots.free -= 1
            self.waiting.remove(request)
            self.preparing.append(request)
            self._recall(request)

    def _must_follow(self, request: ScheduledRequest) -> bool:
        """Whether another one is about to read the image that this one begins with."""
        first = request.first_image
        return first is not None and any(
            each.first_image == first for each in self.preparing
        )

    def _recall(self, request: ScheduledRequest) -> None:
        """Find what earlier requests have read and encoded of it."""
        if request.opened.options.reads_cache:
            keys = request.opened.keys[:-1]  # the last position is always read
            request.prefix = self._caches.prefixes.find(keys)
            request.answer.reused_tokens = len(request.prefix)
            request.encoded |= self._encoder.known(request.missing)

    def _end(self, requests: Sequence[ScheduledRequest]) -> None:
        """Let requests go whose answers have ended or are not wanted any more."""
        running = self.running
        for request in requests:
            if request.streamed and request in running:
                self._keep_answer(request)
        self._remove(requests)
        for request in requests:
            request.outlet.end(request.result(mx.get_peak_memory()), None)

    def _keep_answer(self, request: ScheduledRequest) -> None:
        """For the turn of a conversation that may follow."""
        assert request.prompt is not None
        try:
            cache = self._decoding.extract(request)
            request.prompt.keep_answer(cache, request.answer.generated)
        except Exception as error:  # the answer itself is whole
            _log.warning("An answer could not be kept for the next turn: %s", error)

    def _fail(
        self, requests: Sequence[ScheduledRequest], error: Exception | None
    ) -> None:
        """Let requests go with an error; nothing of their answers is kept."""
        self._remove(requests)
        for request in requests:
            request.outlet.end(request.result(mx.get_peak_memory()), error)

    def _remove(self, requests: Sequence[ScheduledRequest]) -> None:
        for request in requests:
            request.slots.free += request not in self.waiting
        if any(request in requests for request in self._reading):
            self._prefill, self._reading = None, []  # the others begin again
        self.waiting = [each for each in self.waiting if each not in requests]
        self.preparing = [each for each in self.preparing if each not in requests]
        self._decoding.drop(requests)

    # --- a token for everybody ----------------------------------------------------

    def _step(self) -> None:
        ended = []
        for group in self._decoding.groups():
            watch = Stopwatch()
            try:
                tokens = group.step()
            except Exception as error:
                self._fail([*group.keys], error)
                continue
            watch.lap("decode")
            for request, token in tokens:
                request.add_step(watch.seconds["decode"])
                self._guarded([request], functools.partial(request.feed, token))
                if request.answer.finish_reason is not None:
                    ended.append(request)
            self.steps += 1
        if ended:
            self._end(ended)

    # --- units of other work ------------------------------------------------------

    def _nobody_waits_for_tokens(self) -> bool:
        return not any(each.streamed for each in (*self.preparing, *self.running))

    def _somebody_reads(self) -> bool:
        """Whether a unit now would keep a reader waiting for the next token."""
        return any(each.streamed for each in self.running)

    def _unit(self) -> bool:
        """Encode one image or read one chunk; whether there was anything to do."""
        if not self.preparing:
            return False
        self.units += 1
        ready = [each for each in self.preparing if not each.missing]
        if self._prefill is not None:
            self._guarded(self._reading, self._advance_prefill)
        elif self._encodes_next(ready):
            request = next(each for each in self.preparing if each.missing)
            self._guarded([request], lambda: self._encode(request))
        elif self._begin_prefill(ready):
            self._guarded(self._reading, self._advance_prefill)
        return True

    def _guarded(
        self, requests: Sequence[ScheduledRequest], unit: Callable[[], None]
    ) -> None:
        """Do a unit; if it fails, these requests fail with it."""
        try:
            unit()
        except Exception as error:
            self._fail([*requests], error)

    def _encodes_next(self, ready: Sequence[ScheduledRequest]) -> bool:
        """Whether an image is encoded next, rather than a prompt read.

        A request with nothing to encode may pass the first in line once, so that the
        second question about an image does not wait for other people's images. In a
        batch all images come first, so that prompts can be read together.
        """
        if not ready or self._nobody_waits_for_tokens():
            return len(ready) < len(self.preparing)
        passed = bool(self.preparing[0].missing)
        encodes = passed and self._overtaken
        self._overtaken = passed and not encodes
        return encodes

    def _encode(self, request: ScheduledRequest) -> None:
        """Encode an image of a request; more of its shape where no token is awaited."""
        needed, keep = request.missing, request.opened.options.fills_cache
        images = fill_up(needed, self._wanted(keep))
        if self._somebody_reads():
            images = needed[:1]
        watch = Stopwatch()
        try:
            made = self._encoder.encode(images, keep, watch.lap)
        except Exception:
            if len(images) == 1:
                raise
            made = self._encoder.encode(needed[:1], keep, watch.lap)  # not the others'
        for each in (*self.preparing, *self.waiting):
            own = {image.digest for image in each.opened.images} & made.keys()
            if own and each.opened.options.fills_cache is keep:
                each.encoded |= {digest: made[digest] for digest in own}
                each.add_times(watch.seconds)

    def _wanted(self, keep: bool) -> Iterator[OpenedImage]:
        """Images of others that will have to be encoded too."""
        for request in (*self.preparing, *self.waiting):
            if request.opened.options.fills_cache is keep:
                yield from request.missing

    def _begin_prefill(self, ready: Sequence[ScheduledRequest]) -> bool:
        """Choose whose prompts are read next: the first one's, and others like it."""
        for request in ready:
            self._guarded([request], functools.partial(self._prepare, request))
        by_prompt = {each.prompt: each for each in ready if each.prompt is not None}
        if not by_prompt:
            return False
        first, *_ = by_prompt
        batchable = [prompt for prompt in by_prompt if prompt.is_batchable]
        buckets = [each for each in length_buckets(batchable) if first in each]
        group = buckets[0] if buckets else [first]
        self._reading = [by_prompt[prompt] for prompt in group]
        self._prefill = Prefill(self._model, group)
        return True

    def _prepare(self, request: ScheduledRequest) -> None:
        if request.prompt is None:
            prepared = request.opened.prepared(request.prefix, request.encoded)
            request.prompt = PromptPrefill(
                self._model, self._caches.prefixes, prepared, request.answer.max_tokens
            )

    def _advance_prefill(self) -> None:
        """Read a chunk; after the last one these answers are running."""
        assert self._prefill is not None
        watch, reading = Stopwatch(), self._reading
        step = min(request.opened.prefill_step for request in reading)
        if self._somebody_reads():
            step = min(step, SHORT_CHUNK)
        if self._prefill.advance(step):
            self._start(self._prefill, reading)
            watch.lap("prefill")
            for request in reading:
                self._encoder.wait(request.encoded.values(), watch.lap)
            self._keep_prompts(self._prefill, reading)
            self._prefill, self._reading = None, []
        watch.lap("prefill")
        for request in reading:
            request.add_times(watch.seconds)

    def _start(self, prefill: Prefill, reading: Sequence[ScheduledRequest]) -> None:
        """Let answers run whose prompts were read."""
        self.preparing = [each for each in self.preparing if each not in reading]
        logits = prefill.logits()
        if len(reading) > 1:
            samplers = [each.sampler for each in reading]
            self._decoding.add_batch(reading, prefill.cache, logits, samplers)
            return
        (request,) = reading
        assert request.prompt is not None
        between = request.prompt.rotate_or_quantize
        self._decoding.add(
            DecodeOne(
                self._model,
                request,
                prefill.cache,
                logits,
                request.sampler,
                request.answer.max_tokens,
                None if request.prompt.is_batchable else between,
            )
        )

    def _keep_prompts(
        self, prefill: Prefill, reading: Sequence[ScheduledRequest]
    ) -> None:
        for row, request in enumerate(reading):
            assert request.prompt is not None
            request.prompt.keep_prompt(prefill.extract(row))
