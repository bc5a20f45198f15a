"""Decodes rows continuously on one engine: those that have ended leave, and waiting rows join the running rest."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from schemas.outcomes import Outcome
from workers.engines.contract import ContinuousEngine, check_outcomes
from workers.tickets import TicketRow

log = logging.getLogger(__name__)

Refill = Callable[[Sequence[TicketRow]], list[TicketRow]]
"""Waiting rows that may join those that run."""

Ended = Callable[[Sequence[tuple[TicketRow, Outcome]], Sequence[TicketRow], int, float], None]
"""Takes the outcomes that a step brought, the rows that had joined before it, how many ran, and its seconds."""


def decode(engine: ContinuousEngine, rows: list[TicketRow], refill: Refill, ended: Ended) -> list[TicketRow]:
    """Decode these rows and whatever joins them, until none is left.

    Returns the rows that had no outcome when the engine erred, none if it did not: one of them may be to blame, and
    which one is found by computing them in parts.

    Raises:
        Exception: what `ended` and `refill` raise.
    """
    decoding = engine.decode()
    running: dict[int, TicketRow] = {}  # by the identity of their unit, since two jobs may have rows of one number
    joining = rows
    while running or joining:
        began = time.monotonic()
        running |= {id(row.unit): row for row in joining}
        try:
            if joining:
                decoding.admit([row.unit for row in joining])
            done = [(running[id(unit)], outcome) for unit, outcome in decoding.step()]
            check_outcomes([row.unit for row, _ in done], [outcome for _, outcome in done])
        except Exception as fault:
            log.warning("%d rows decoded together are computed in parts: %s", len(running), fault)
            return list(running.values())
        stepped = len(running)
        for row, _ in done:
            del running[id(row.unit)]
        ended(done, joining, stepped, time.monotonic() - began)
        joining = refill(list(running.values()))
    return []
