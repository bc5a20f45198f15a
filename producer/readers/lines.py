"""Physical lines of a stream, each of bounded length."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO

from producer.validate import EXCERPT, reject
from schemas.errors import RowError, UsageError
from schemas.items import Rejected

_DISCARD = 64 * 1024


def lines(stream: BinaryIO, limit: int) -> Iterator[str | Rejected]:
    """The lines of a UTF-8 stream with their ends (`\\n`, `\\r\\n`); a leading byte-order mark is dropped.

    Bytes that are no UTF-8 come as lone surrogates (`surrogateescape`), for `validate.unstorable` to find. Of a
    line longer than `limit` bytes only the beginning is held, and it comes as a rejection.

    Raises:
        UsageError: the stream is UTF-16 or UTF-32.
    """
    readline = stream.readline
    cap = limit + 1
    first = True
    while raw := readline(cap):
        overlong = len(raw) == cap and raw[-1:] != b"\n"
        if first:
            first = False
            if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise UsageError("the source is encoded as UTF-16 or UTF-32; convert it to UTF-8")
            raw = raw.removeprefix(codecs.BOM_UTF8)
            if not raw and not overlong:
                return  # the mark was all there is
        if overlong:
            while (rest := readline(_DISCARD)) and rest[-1:] != b"\n":
                pass
            beginning = raw[: 4 * EXCERPT].decode("utf-8", "replace")
            yield reject(RowError.OVERSIZED, f"the line has more than {limit} bytes", beginning)
        else:
            yield raw.decode("utf-8", "surrogateescape")
