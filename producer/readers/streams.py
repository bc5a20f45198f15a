"""Byte streams: files and standard input, decompressed under limits, and never silently short.

A compressed source that breaks off gives all the bytes before the break and then raises: a corpus must not be
sealed as complete when half of it was lost in a copy.
"""

from __future__ import annotations

import io
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from producer.readers.options import ReadOptions
from schemas.errors import NotFound, UsageError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BUFFER = 256 * 1024
_PIECE = 128  # compressed bytes a step: even a bomb gives at most 4 MiB (zstd) before the limits are checked
_RATIO_FROM = 64 << 20  # short sources may compress as well as they like


class Compression(StrEnum):
    """How the bytes of a source are packed; the value is the file name's last ending."""

    GZIP = "gz"
    ZSTD = "zst"


class _Frame(Protocol):
    """One gzip member or zstd frame being unpacked; zlib and zstandard agree on this much."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _frames_of(compression: Compression) -> tuple[Callable[[], _Frame], type[Exception]]:
    """What makes the next frame, and the error it raises on damaged bytes."""
    if compression is Compression.GZIP:
        return (lambda: zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)), zlib.error
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj, zstandard.ZstdError


class _Inflated(io.RawIOBase):
    """The unpacked bytes of a stream of frames, within the limits of the options."""

    def __init__(self, packed: BinaryIO, compression: Compression, options: ReadOptions) -> None:
        self._packed = packed
        self._new_frame, self._damage = _frames_of(compression)
        self._options = options
        self._frame: _Frame | None = None
        self._held = b""
        self._ready = memoryview(b"")
        self._taken = 0
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer).cast("B")
        while not self._ready:
            if not self._advance():
                return 0
        count = min(len(target), len(self._ready))
        target[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _advance(self) -> bool:
        """Unpack one more piece; False at the proper end of the stream."""
        piece = self._held
        if not piece:
            piece = self._packed.read(_PIECE)
            self._taken += len(piece)
        self._held = b""
        if not piece:
            if self._frame is not None or self._taken == 0:
                raise UsageError("the source ends in the middle of its compressed data; fetch it again")
            return False
        if self._frame is None:
            piece = piece.lstrip(b"\0")  # some tools pad a gzip file to full blocks
            if not piece:
                return True
            self._frame = self._new_frame()
        try:
            self._ready = memoryview(self._frame.decompress(piece))
        except self._damage as fault:
            raise UsageError(f"the compressed data is damaged ({fault}); fetch it again") from fault
        if self._frame.eof:
            self._held = self._frame.unused_data
            self._frame = None
        self._given += len(self._ready)
        self._check_limits()
        return True

    def _check_limits(self) -> None:
        if self._given > self._options.max_total_bytes:
            raise UsageError(
                f"the source expands to more than {self._options.max_total_bytes} bytes; raise max_total_bytes "
                "if that is right"
            )
        if self._given > _RATIO_FROM and self._given > self._taken * self._options.max_ratio:
            raise UsageError(
                f"the source expands more than {self._options.max_ratio:g} times, like a decompression bomb; "
                "raise max_ratio if that is right"
            )


@contextmanager
def open_stream(path: Path | None, compression: Compression | None, options: ReadOptions) -> Iterator[BinaryIO]:
    """The bytes of a file, or of standard input for None, unpacked.

    Raises:
        NotFound: there is no such file.
        UsageError: it cannot be opened; while reading: it is damaged, cut off, or expands past the limits.
    """
    if path is None:
        packed: BinaryIO = sys.stdin.buffer
    else:
        try:
            packed = path.open("rb", buffering=_BUFFER)
        except FileNotFoundError:
            raise NotFound(f"no such file: {path}") from None
        except OSError as fault:
            raise UsageError(f"cannot be opened: {fault.strerror}") from fault
    try:
        if compression is None:
            yield packed
        else:
            yield io.BufferedReader(_Inflated(packed, compression, options), _BUFFER)
    finally:
        if path is not None:
            packed.close()
