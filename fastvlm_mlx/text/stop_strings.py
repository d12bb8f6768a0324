"""Stop strings in a stream: never show a part of one, never miss one."""

from collections.abc import Sequence


class StopFilter:
    """Holds text back while it could still become a stop string."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.matched: str | None = None

    def feed(self, text: str) -> str:
        """Take new text, give what may be shown; `matched` is set at a stop.

        The stop that is complete first wins, and the longest of those that end
        together. So the answer does not depend on how the text was cut.
        """
        self._held += text
        places = [(self._held.find(stop), stop) for stop in self._stops]
        found = [(p + len(stop), p, stop) for p, stop in places if p >= 0]
        if found:
            _, place, self.matched = min(found)
            shown, self._held = self._held[:place], ""
            return shown
        keep = max((self._overlap(stop) for stop in self._stops), default=0)
        shown = self._held[: len(self._held) - keep]
        self._held = self._held[len(shown) :]
        return shown

    def flush(self) -> str:
        """The text held back at the end of the answer."""
        held, self._held = self._held, ""
        return held

    def _overlap(self, stop: str) -> int:
        """How much of the end of the held text is a beginning of `stop`."""
        longest = min(len(stop) - 1, len(self._held))
        return next(
            (n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0
        )
