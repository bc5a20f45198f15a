"""Splits the lines of a delimited table into rows of fields, quotes included, and recovers from stray quotes.

A quoted field may hold line ends, so one stray quote can swallow the rest of a file. Here it costs one row: a row
that began with a quote and does not end well is given up after its first line, and the lines it had taken are read
again as rows of their own.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator

from producer.validate import check_text, reject
from schemas.errors import RowError
from schemas.items import Rejected


class RowSplitter:
    """The rows of a table, lazily. `limit` bounds, in characters, how far a quote that is not closed is followed."""

    def __init__(self, physical: Iterator[str | Rejected], delimiter: str, limit: int) -> None:
        self._physical = physical
        self._delimiter = delimiter
        self._limit = limit
        self._waiting: deque[str | Rejected] = deque()
        self._taken: list[str] = []  # the lines of the row that is being parsed
        self._begins = False
        self._size = 0
        self._parser = self._new_parser()
        csv.field_size_limit(max(csv.field_size_limit(), 2 * limit))  # the module's own limit is one for the process

    def rows(self, width: int | None = None, single_line: int | None = None) -> Iterator[list[str] | Rejected]:
        """The rows from here on; blank lines are skipped.

        A row must have `width` fields, and field `single_line` must not hold a line end; None: whatever there is.
        """
        delimiter = self._delimiter
        while (line := self._next()) is not None:
            if isinstance(line, Rejected):
                yield line
            elif '"' in line:
                yield self._quoted(line, width, single_line)
            else:
                bare = line.rstrip("\r\n")
                if not bare or (bare.isspace() and delimiter not in bare):
                    continue
                if ("\0" in bare or not bare.isascii()) and (fault := check_text(bare)) is not None:
                    yield fault
                elif "\r" in bare:
                    yield reject(RowError.MALFORMED_CSV, "a carriage return stands within the line", bare)
                else:
                    fields = bare.split(delimiter)
                    if width is None or len(fields) == width:
                        yield fields
                    else:
                        yield reject(RowError.MALFORMED_CSV, _wrong_width(len(fields), width), bare)

    def _next(self) -> str | Rejected | None:
        return self._waiting.popleft() if self._waiting else next(self._physical, None)

    def _quoted(self, line: str, width: int | None, single_line: int | None) -> list[str] | Rejected:
        """The row that begins in this line, which holds a quote."""
        taken = self._taken = [line]
        self._begins = True
        self._size = 0
        try:
            fields = next(self._parser)
        except csv.Error as fault:
            self._parser = self._new_parser()
            unclosed = "unexpected end" in str(fault)
            return self._give_up("a quote is not closed" if unclosed else str(fault))
        if width is not None and len(fields) != width:
            return self._give_up(_wrong_width(len(fields), width))
        if single_line is not None and len(taken) > 1 and "\n" in fields[single_line].strip():
            return self._give_up("a quote opens a SMILES that ends in a later line")
        if len(taken) == 1 and line.isascii() and "\0" not in line:
            return fields
        return check_text("".join(taken)) or fields

    def _give_up(self, message: str) -> Rejected:
        """Reject the first line of the row, and have the others read again."""
        first, *others = self._taken
        self._waiting.extendleft(reversed(others))
        return reject(RowError.MALFORMED_CSV, message, first)

    def _new_parser(self) -> Iterator[list[str]]:
        """One parser serves all rows with quotes, since making one costs more than parsing a row."""
        return csv.reader(self._follow(), delimiter=self._delimiter, strict=True)

    def _follow(self) -> Iterator[str]:
        """The line in which a row begins, then further ones as the parser asks for them.

        It ends, and with it the row, at the limit, at the end of the file and at a line that is too long.
        """
        while self._size <= self._limit:
            if self._begins:
                self._begins = False
                line = self._taken[0]
            else:
                following = self._next()
                if following is None:
                    return
                if isinstance(following, Rejected):
                    self._waiting.appendleft(following)
                    return
                line = following
                self._taken.append(line)
            self._size += len(line)
            yield line


def _wrong_width(found: int, width: int) -> str:
    return f"the row has {found} fields, the header {width}"
