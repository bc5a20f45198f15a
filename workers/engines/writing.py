"""A paper while its summary is written, pass after pass."""

from __future__ import annotations

from workers.engines.contract import Prepared
from workers.engines.next_token import streams
from workers.engines.seq2seq_cpu import Manuscript, WindowWork, Written


class Writing:
    """One paper with a stream for each window of the pass that it is in. Whoever has it writes them to their ends."""

    def __init__(self, cpu: WindowWork, row: Prepared) -> None:
        self.row = row
        self._cpu = cpu
        self._manuscript: Manuscript = row.data
        self.streams = streams(self._manuscript)

    def conclude(self) -> Written | None:
        """The summary, once all streams have ended; None if what they wrote is read again, by new `streams`."""
        done = self._manuscript
        parts = [self._cpu.text(stream.tokens) for stream in self.streams]
        again = self._cpu.again(self.row.row, done, parts)
        if again is None:
            text = " ".join(part for part in parts if part)
            return Written(self.row.row, text, (), done.coverage, done.tokens, parts=tuple(parts), source=done.source)
        self._manuscript, self.streams = again, streams(again)
        return None
