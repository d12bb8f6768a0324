"""An answer as it is written: from the thread that computes to whoever reads.

The loop puts text into an `Outlet` and never waits for a reader. `TextStream` reads
with `for`, from any thread; `AsyncTextStream` with `async for`.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol, Self, TypeAlias

from .result import GenerationResult


class Outlet(Protocol):
    """Where the loop puts an answer; its thread calls these."""

    def put(self, text: str, tokens: int) -> None:
        """More text, and how many tokens the answer has now."""

    def end(self, result: GenerationResult | None, error: Exception | None) -> None:
        """Nothing more comes. A failed answer has an error, and perhaps a part."""


_Text: TypeAlias = tuple[str, int]
_End: TypeAlias = tuple[GenerationResult | None, Exception | None]
_Item: TypeAlias = _Text | _End
_Cancel = Callable[[], None]
_OnResult = Callable[[GenerationResult], None]


class _Reader:
    """What was read of an answer so far, and what it comes to."""

    def __init__(self, on_result: _OnResult) -> None:
        self._on_result = on_result
        self._lock = threading.Lock()
        self._pieces: list[str] = []
        self._tokens = 0
        self.result: GenerationResult | None = None

    def take(self, item: _Text) -> str:
        text, self._tokens = item
        self._pieces.append(text)
        return text

    def settle(self, end: _End) -> None:
        """The answer is over, or nobody wants the rest."""
        with self._lock:
            if self.result is not None or end[0] is None:
                return
            self.result = end[0].cut("".join(self._pieces), self._tokens)
        self._on_result(self.result)


class _Stream:
    """What both ways of reading have in common."""

    def __init__(self, on_result: _OnResult) -> None:
        self._items: SimpleQueue[_Item] | asyncio.Queue[_Item]
        self._reader = _Reader(on_result)
        self._cancel_answer: _Cancel = lambda: None
        self._over = False

    def cancel(self) -> None:
        """End the answer soon, without waiting for that."""
        if not self._over:
            self._cancel_answer()

    def __del__(self) -> None:
        self.cancel()

    def _settle(self, end: _End) -> None:
        self._over = True
        self._items.put_nowait(end)  # for others that wait
        self._reader.settle(end)

    def _whole(self) -> GenerationResult:
        result = self._reader.result
        assert result is not None, "an answer that failed before it began has no result"
        return result


class TextStream(_Stream):
    """An answer as it is written: iterate for text, then read `result`.

    >>> stream = vlm.stream("photo.jpg", "What is this?")
    >>> for text in stream:
    ...     print(text, end="", flush=True)
    >>> stream.result.finish_reason
    'stop'

    It may be read by any thread. What has been written waits for its reader.
    """

    def __init__(self, on_result: _OnResult = lambda _: None) -> None:
        super().__init__(on_result)
        self._items: SimpleQueue[_Item] = SimpleQueue()

    @classmethod
    def begin(
        cls, start: Callable[[Outlet], _Cancel], on_result: _OnResult = lambda _: None
    ) -> Self:
        """Have an answer written.

        Args:
            start: given the outlet to write to; returns how to cancel the answer.
            on_result: called by the reader's thread when the answer ends.
        """
        stream = cls(on_result)
        stream._cancel_answer = start(_Outlet(stream._items.put))
        return stream

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        if self._over:
            raise StopIteration
        try:
            item = self._items.get()
        except BaseException:  # Ctrl-C while waiting
            self.cancel()
            raise
        if isinstance(item[0], str):
            return self._reader.take(item)
        self._settle(item)
        if item[1] is not None:
            raise item[1]
        raise StopIteration

    def close(self) -> None:
        """End the answer here; `result` then says "cancelled".

        When this returns nothing of the answer is computed or kept any more.
        """
        if self._over:
            return
        self.cancel()
        item = self._items.get()
        while isinstance(item[0], str):
            item = self._items.get()
        self._settle(item)

    @property
    def result(self) -> GenerationResult:
        """The whole answer; reads the stream to its end first."""
        for _ in self:
            pass
        return self._whole()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncTextStream(_Stream):
    """As `TextStream`, for `async for`; the event loop is never blocked.

    >>> stream = await vlm.astream("photo.jpg", "What is this?")
    >>> async for text in stream:
    ...     print(text, end="", flush=True)
    >>> (await stream.result()).finish_reason
    'stop'
    """

    def __init__(self) -> None:
        super().__init__(lambda _: None)
        self._items: asyncio.Queue[_Item] = asyncio.Queue()

    @classmethod
    def begin(cls, start: Callable[[Outlet], _Cancel]) -> Self:
        """Have an answer written; to be called in the event loop that reads it."""
        stream, loop = cls(), asyncio.get_running_loop()
        put = stream._items.put_nowait  # the stream may be dropped meanwhile

        def send(item: _Item) -> None:
            with contextlib.suppress(RuntimeError):  # a closed loop: nobody reads
                loop.call_soon_threadsafe(put, item)

        stream._cancel_answer = start(_Outlet(send))
        return stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        if self._over:
            raise StopAsyncIteration
        try:
            item = await self._items.get()
        except BaseException:  # the task was cancelled
            self.cancel()
            raise
        if isinstance(item[0], str):
            return self._reader.take(item)
        self._settle(item)
        if item[1] is not None:
            raise item[1]
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the answer here; its result then says "cancelled"."""
        if self._over:
            return
        self.cancel()
        item = await self._items.get()
        while isinstance(item[0], str):
            item = await self._items.get()
        self._settle(item)

    async def result(self) -> GenerationResult:
        """The whole answer; reads the stream to its end first."""
        async for _ in self:
            pass
        return self._whole()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class _Outlet:
    """Sends what the loop puts to whoever reads."""

    def __init__(self, send: Callable[[_Item], None]) -> None:
        self._send = send

    def put(self, text: str, tokens: int) -> None:
        if text:
            self._send((text, tokens))

    def end(self, result: GenerationResult | None, error: Exception | None) -> None:
        self._send((result, error))
