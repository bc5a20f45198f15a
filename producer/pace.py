"""How fast a count grows, measured over its last seconds, and what that says of the time left."""

from __future__ import annotations

from collections import deque

WINDOW = 30.0  # seconds: long enough to smooth whole batches arriving, short enough to follow a change


class Pace:
    """The rate of one growing count. It has no clock of its own: every observation brings its time."""

    def __init__(self, window: float = WINDOW) -> None:
        """`window` is the span, in seconds, that the rate is taken over."""
        self._window = window
        self._seen: deque[tuple[float, int]] = deque()

    def observe(self, now: float, count: int) -> None:
        """Note the count at the time `now` in seconds. A count that shrinks, as by a retry, begins anew."""
        if self._seen and count < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((now, count))
        while len(self._seen) > 2 and self._seen[1][0] <= now - self._window:
            self._seen.popleft()

    @property
    def rate(self) -> float | None:
        """Units a second; None before there is a second of observations."""
        if not self._seen or (span := self._seen[-1][0] - self._seen[0][0]) < 1.0:
            return None
        return (self._seen[-1][1] - self._seen[0][1]) / span

    def seconds_left(self, outstanding: int) -> float | None:
        """Seconds until `outstanding` more units are there; None while nothing moves."""
        rate = self.rate
        return outstanding / rate if rate else None
