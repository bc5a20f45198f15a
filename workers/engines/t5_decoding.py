"""T5's continuous decoding: rows that have ended leave, and waiting ones take their places between two steps."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from operator import itemgetter

import torch

from schemas.outcomes import Outcome
from workers.engines.contract import Prepared
from workers.engines.fixed_decoding import FixedDecoding
from workers.engines.next_token import Stream, choose
from workers.engines.seq2seq_cpu import WindowWork
from workers.engines.t5_cache import T5Cache
from workers.engines.t5_network import T5Network
from workers.engines.writing import Writing

# Windows decoded at a time: on a CPU more no longer pays and leaves the cache; a GPU wants to be filled.
SLOTS = {"cpu": 32, "cuda": 256}
REFILL_SHARE = 16  # windows join when this fraction of the slots is free: each joining costs a pass of the encoder


class T5Decoding:
    """Papers on one device, each with a stream a window; new ones wait when it is read again. See `contract.Decoding`.

    A stream with a token that noise could have changed is decoded again alone, by `fixed`, unless noise is too large
    for that, as it is in half precision: then `exact` is false. Streams that ask for beams are left to `fixed`, too.
    """

    def __init__(
        self,
        network: T5Network,
        start: int,
        ends: frozenset[int],
        fixed: FixedDecoding,
        cpu: WindowWork,
        *,
        exact: bool,
    ) -> None:
        self._network = network
        self._start = start
        self._ends = ends
        self._end_places = torch.tensor(sorted(ends), device=network.device)
        self._fixed = fixed
        self._cpu = cpu
        self._exact = exact
        self._slots = SLOTS["cpu" if network.device.type == "cpu" else "cuda"]
        self._cache = T5Cache(network.layers, network.heads, network.width, network.embedding)
        self._running: list[Stream] = []  # in the cache's order
        self._waiting: list[tuple[int, int, Stream]] = []  # by length, and by age among equals
        self._level, self._rising = 0, True
        self._beams: list[Stream] = []
        self._open: dict[Writing, int] = {}  # windows of each paper that have not ended
        self._of: dict[Stream, Writing] = {}
        self._age = 0

    def admit(self, rows: Sequence[Prepared]) -> None:
        """Let papers join; their windows are encoded when a place is free."""
        for row in rows:
            self._await(Writing(self._cpu, row))

    @torch.inference_mode()
    def step(self) -> Sequence[tuple[Prepared, Outcome]]:
        """Decode one token for every window in a slot; the papers whose last window of all passes ended by it."""
        ended, self._beams = self._beams, []
        if ended:
            self._fixed.decode(ended)
        self._refill()
        if self._running:
            ended += self._advance()
        done: list[tuple[Prepared, Outcome]] = []
        for stream in ended:
            paper = self._of.pop(stream)
            self._open[paper] -= 1
            if self._open[paper]:
                continue
            del self._open[paper]
            outcome = paper.conclude()
            if outcome is None:
                self._await(paper)
            else:
                done.append((paper.row, outcome))
        return done

    def _await(self, paper: Writing) -> None:
        """Let a paper's windows wait for free slots."""
        self._open[paper] = len(paper.streams)
        for stream in paper.streams:
            self._of[stream] = paper
            if stream.asked.num_beams > 1:
                self._beams.append(stream)
                continue
            self._age += 1
            insort(self._waiting, (len(stream.source), self._age, stream))

    def _refill(self) -> None:
        """Give free slots to waiting windows."""
        free = self._slots - len(self._running)
        if not self._waiting or free * REFILL_SHARE < self._slots:
            return
        joining = [self._next() for _ in range(min(free, len(self._waiting)))]
        self._cache.join(self._network.encode([stream.source for stream in joining]))
        self._running += joining

    def _next(self) -> Stream:
        """The waiting window nearest in length to the last one, upwards and then downwards again, like a lift.

        So windows of similar lengths run together, cross-attention reads little padding, and none waits for ever.
        """
        longer = bisect_left(self._waiting, self._level, key=itemgetter(0))  # the first that is, or of equal length
        if longer in (0, len(self._waiting)):
            self._rising = longer == 0
        self._level, _, stream = self._waiting.pop(longer if self._rising else longer - 1)
        return stream

    def _advance(self) -> list[Stream]:
        """One step of all windows in slots; those that ended by it."""
        running = self._running
        last = [stream.tokens[-1] if stream.tokens else self._start for stream in running]
        logits = self._network.step(torch.tensor(last, device=self._network.device), self._cache)
        early = [at for at, stream in enumerate(running) if len(stream.tokens) < stream.asked.min_new_tokens]
        if early:
            logits[torch.tensor(early, device=logits.device)[:, None], self._end_places] = -torch.inf
        tokens, wavering = choose(logits, running)
        left = []
        for at, (stream, token, wavers) in enumerate(zip(running, tokens.tolist(), wavering.tolist(), strict=True)):
            stream.tokens.append(token)
            if wavers and self._exact:
                self._fixed.alone(stream)
            if (wavers and self._exact) or stream.ended(self._ends):
                left.append(at)
        ended = [running[at] for at in left]
        if left:
            self._cache.leave(left)
            for at in reversed(left):  # as the cache does: the last one takes the place
                running[at] = running[-1]
                running.pop()
        return ended
