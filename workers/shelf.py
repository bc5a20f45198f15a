"""The models that this process has loaded: one engine and one batcher each, on one device that they share.

Each is loaded for the first batch that needs it and put away when another one needs its memory. What is decided in
`workers.residence` is carried out here, by the thread of the batch that has waited longest.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pydantic import ByteSize

from schemas.database import Database
from schemas.errors import ModelTooLarge, ModelUnavailable
from schemas.registry import ModelEntry
from workers.loading import LoadedModel, ModelLoader, RanOut
from workers.place import Place
from workers.residence import Load, PutAway, Refuse, Wait, decide
from workers.room import Memory, Room, give_back
from workers.spans import Span, Spans, Step
from workers.tally import ModelCounts
from workers.tickets import Stopped

log = logging.getLogger(__name__)

REPORT = 60.0  # seconds between two writings of what was learnt and done: a worker that is killed loses no more
LOOK = 1.0  # seconds until who waits looks again: others use the memory too
SHORT_SHARE = 8
SHORT_LEAST = 64 << 20
"""After running out of memory, a load is tried again with an eighth more room than there was, or so many bytes."""


class Shelf:
    """Loads models when they are used, as they were pinned when their job was submitted, and puts them away."""

    def __init__(
        self, database: Database, device: str, *, slots: int = 1, processes: int = 0, bound: int | None = None
    ) -> None:
        """`slots`: threads that use models; `processes`: how many do the work of each model that needs no device (0:
        the threads); `bound`: bytes that all models may hold together, beside what the device has.
        """
        self._database = database
        self._device = device
        self._slots = slots
        self._loader = ModelLoader(database, device, processes)
        self._room = Room(device, bound)
        self._changed = threading.Condition()  # guards everything below
        self._places: dict[int, Place] = {}
        self._queue: list[Place] = []  # for each thread that waits, what it waits for; who came first is served first
        self._leaving: frozenset[int] = frozenset()  # loaded models that no batch may begin with
        self._moving = False  # whether a model is being loaded or put away: one at a time
        self._stopped = False
        self._reported = time.monotonic()

    @contextmanager
    def use(self, model: int) -> Iterator[LoadedModel]:
        """The model with that id in the table of models, which stays loaded within the block; waits until it is.

        Raises:
            ModelTooLarge: this device has too little memory for it.
            ModelUnavailable: it cannot be loaded here, whatever the cause.
            Stopped: the worker is stopping.
            ServerUnavailable: PostgreSQL is away.
        """
        place = self._place(model)
        loaded = self._take(place)
        try:
            yield loaded
        finally:
            with self._changed:
                place.users -= 1
                place.last_used = time.monotonic()
                self._changed.notify_all()

    def count(self, model: int, spans: Iterable[Span]) -> None:
        """Count a batch's steps to its model, and from time to time log what was done and keep what was learnt."""
        with self._changed:
            place = self._places.get(model)
            seconds = time.monotonic() - self._reported
            due = seconds > REPORT
            if due:
                self._reported = time.monotonic()
        if place is not None:
            place.tally.add(spans)
        if due:
            self._report(seconds)
            self._remember_costs()

    def counts(self) -> list[ModelCounts]:
        """What each model has done so far, also those that are not loaded at present."""
        with self._changed:
            return [place.counts() for place in self._places.values()]

    def loaded(self) -> list[LoadedModel]:
        """The models that are loaded."""
        return [place.model for place in list(self._places.values()) if place.model is not None]

    def stop(self, drain: float) -> None:
        """Stop all batchers, giving what has begun `drain` seconds in all; no other model is loaded from now on."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        stopping = [threading.Thread(target=model.batcher.stop, args=(drain,), daemon=True) for model in self.loaded()]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join(drain + 1.0)
        for model in self.loaded():
            model.workshop.stop()
        self._remember_costs()

    def report(self) -> None:
        """Log all that each model has done."""
        now = time.monotonic()
        with self._changed:
            done = [(place.counts(), now - place.since) for place in self._places.values()]
        for counts, seconds in done:
            if not counts.idle:
                log.info("in all %s", counts.line(seconds))

    def _place(self, model: int) -> Place:
        if model not in self._places:
            with self._database.transaction() as connection:
                row = connection.execute("SELECT entry FROM models WHERE id = %s", (model,)).fetchone()
            assert row is not None  # noqa: S101 - a batch's job points to it
            place = Place(model, ModelEntry.model_validate(row["entry"]))
            with self._changed:
                self._places.setdefault(model, place)
        return self._places[model]

    def _take(self, place: Place) -> LoadedModel:
        """Wait in line for the model, and count one more user of it."""
        with self._changed:
            self._queue.append(place)
        try:
            while True:
                step = self._await_turn(place)
                if isinstance(step, LoadedModel):
                    return step
                self._carry_out(step, place)
        finally:
            with self._changed:
                self._queue.remove(place)
                self._changed.notify_all()

    def _await_turn(self, place: Place) -> LoadedModel | Load | PutAway:
        """Wait until the model is there, or until it is for this thread to do something about it."""
        with self._changed:
            while True:
                if self._stopped:
                    raise Stopped("the worker is stopping")
                if place.model is not None and place.number not in self._leaving:
                    place.users += 1
                    return place.model
                if self._moving or self._queue[0] is not place:
                    self._changed.wait()
                    continue
                self._leaving = frozenset()
                step = self._decide(place)
                if not isinstance(step, Wait):
                    self._moving = True
                    self._leaving = frozenset(step.models if isinstance(step, PutAway) else ())
                    return step
                self._leaving = step.leaving  # until it is decided anew: several threads may wait here
                self._changed.wait(LOOK if step.until is None else max(0.0, min(LOOK, step.until - time.monotonic())))

    def _decide(self, place: Place) -> Load | PutAway | Wait:
        residents = [found for other in self._places.values() if (found := other.resident())]
        memory = self._memory(reserve=bool(residents))
        # What was learnt by loading is no measure of what cannot be done: other models were at work meanwhile.
        need = max(place.size, place.short) if residents else place.least
        if place.least > memory.total:
            raise ModelTooLarge(
                f"model '{place.entry.name}' needs {_told(place.least)}, and {self._device} has "
                f"{_told(memory.total)} for models",
                place.least,
            )
        all_wait = len(self._queue) >= self._slots
        step = decide(need, memory.free, residents, time.monotonic(), all_wait=all_wait)
        if isinstance(step, Refuse):
            raise ModelUnavailable(
                f"model '{place.entry.name}' needs {_told(place.least)} for its weights, and of its "
                f"{_told(memory.total)} for models {self._device} has only {_told(memory.free)} free: something else "
                "takes the rest"
            )
        return step

    def _memory(self, *, reserve: bool) -> Memory:
        held = sum(place.size for place in self._places.values() if place.model is not None)
        return self._room.memory(held, reserve=reserve)

    def _carry_out(self, step: Load | PutAway, place: Place) -> None:
        try:
            if isinstance(step, Load):
                self._load(place)
            else:
                for number in step.models:
                    self._put_away(self._places[number], place)
        finally:
            with self._changed:
                self._moving = False
                self._leaving = frozenset()
                self._changed.notify_all()

    def _load(self, place: Place) -> None:
        """Load a model, or find out that it takes more memory than there is, beside others or at all."""
        before = self._room.held()
        spans = Spans()
        ran_out = ""
        try:
            with spans.measure(Step.LOAD):
                model = self._loader.load(place.number, place.entry)
        except RanOut as fault:
            log.warning("%s", fault)
            ran_out = str(fault)
        finally:
            place.tally.add(spans)
        if ran_out:  # the exception is gone, and with it what it held
            give_back()
            alone = not self.loaded()
            memory = self._memory(reserve=not alone)
            place.short = memory.free + max(memory.free // SHORT_SHARE, SHORT_LEAST)
            if not alone:
                return  # it is tried again beside fewer
            if place.short <= memory.total:
                raise RanOut(ran_out)  # as something else takes memory here
            place.least = place.short
            return
        after = self._room.held()
        with self._changed:
            if self._stopped:
                raise Stopped("the worker is stopping")
            model.batcher.start()
            place.model = model
            place.load_seconds = sum(span.seconds or 0.0 for span in spans)
            place.loaded_at = place.last_used = time.monotonic()
            place.short = 0
            place.grown = 0 if before is None or after is None else after - before
        log.info("loaded %s in %.1f s: %s", place.entry.name, place.load_seconds, _told(place.size))

    def _put_away(self, place: Place, wanted: Place) -> None:
        """Give back what a model holds. Nobody uses it, and no batch can begin with it."""
        if place.model is not None:
            self._loader.unload(place.number, place.model)
        with self._changed:
            place.end()
            idle = time.monotonic() - place.last_used
        give_back()
        log.info("put away %s, idle for %.1f s, for %s", place.entry.name, idle, wanted.entry.name)

    def _report(self, seconds: float) -> None:
        """Log what each model has done in so many seconds."""
        for place in list(self._places.values()):
            with self._changed:
                counts, before = place.counts(), place.reported
                place.reported = counts
            done = counts.since(before)
            if not done.idle:
                log.info("%s", done.line(seconds))

    def _remember_costs(self) -> None:
        for place in list(self._places.values()):
            if (model := place.model) is not None:
                self._loader.remember(place.number, model)


def _told(size: int) -> str:
    return ByteSize(size).human_readable()
