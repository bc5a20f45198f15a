"""Engines that wait their turn: the models of one process compute one at a time on its one device."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from schemas.outcomes import Outcome
from workers.engines.contract import ContinuousEngine, Decoding, Engine, Prepared


def on_device(engine: Engine, device: threading.Lock) -> OnDevice:
    """The engine as one of several on a device, which `device` stands for."""
    return (ContinuousOnDevice if isinstance(engine, ContinuousEngine) else OnDevice)(engine, device)


class OnDevice:
    """An engine that waits its turn.

    `since` is when the present call into the device began (`time.monotonic`), None between calls.
    """

    def __init__(self, engine: Engine, device: threading.Lock) -> None:
        self.entry = engine.entry
        self.cpu = engine.cpu
        self.pads = engine.pads
        self.since: float | None = None
        self._engine = engine
        self._device = device

    def run(self, rows: Sequence[Prepared]) -> Sequence[Outcome]:
        """As the engine does, alone on the device."""
        with self.turn():
            return self._engine.run(rows)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One call into the device."""
        with self._device:
            self.since = time.monotonic()
            try:
                yield
            finally:
                self.since = None


class ContinuousOnDevice(OnDevice):
    """A continuous engine that waits its turn, for each step anew."""

    _engine: ContinuousEngine

    def decode(self) -> Decoding:
        """As the engine does."""
        return _DecodingOnDevice(self._engine.decode(), self)


class _DecodingOnDevice:
    def __init__(self, decoding: Decoding, device: OnDevice) -> None:
        self._decoding = decoding
        self._device = device

    def admit(self, rows: Sequence[Prepared]) -> None:
        with self._device.turn():
            self._decoding.admit(rows)

    def step(self) -> Sequence[tuple[Prepared, Outcome]]:
        with self._device.turn():
            return self._decoding.step()
