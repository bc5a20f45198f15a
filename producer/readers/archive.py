"""Tar archives of JATS files, read as a stream and never unpacked to disk.

`tarfile` takes a damaged or missing header for the end of an archive. Here only the end mark ends one: an archive
that was cut off in a copy must not be loaded as if it were whole.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import BinaryIO, Self

from producer.readers.documents import oversized, papers_in, row_name
from producer.readers.formats import Format, Packing, packing_of
from producer.readers.options import ReadOptions
from schemas.errors import UsageError
from schemas.items import ContentKind, Record

_JATS = Packing(Format.JATS, None)
_NAME_LIMIT = 1 << 20  # bytes of a header that holds a name; tarfile reads it into memory as a whole
_NAME_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class _Member(tarfile.TarInfo):
    """A member's header; a bad one raises what `tarfile` does not swallow."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        if len(buf) != tarfile.BLOCKSIZE:
            raise tarfile.ReadError("there is no end mark")
        try:
            member = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as fault:
            if not any(buf):  # a block of zeros is the end mark
                raise
            raise tarfile.ReadError(str(fault)) from fault
        if member.size < 0 or (member.type in _NAME_HEADERS and member.size > _NAME_LIMIT):
            raise tarfile.ReadError("a header has an impossible size")
        return member


class _Archive(tarfile.TarFile):
    """An archive that yields its members once."""

    members: list[tarfile.TarInfo]

    def jats_files(self, limit: int) -> Iterator[tuple[str, bytes | None]]:
        """Name and bytes of each visible JATS file; None for one of more than `limit` bytes."""
        while (member := self.next()) is not None:
            self.members.clear()  # tarfile would keep every member that has passed
            hidden = member.name.rpartition("/")[2].startswith(".")
            if hidden or not member.isreg() or packing_of(member.name) != _JATS:
                continue
            content = None if member.size > limit else self.extractfile(member)
            yield member.name, None if content is None else content.read()


def read_archive(stream: BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """The JATS files of an archive in its order, their names as `custom_id`; links, devices, others are passed over.

    Raises:
        UsageError: the archive is damaged, or ends before its end mark.
    """
    limit = options.row_limit(ContentKind.PAPER)
    for member, data in _files(stream, limit):
        if data is None:
            yield Record(oversized(limit), row_name(member))
        else:
            yield from papers_in(data, Format.JATS, member, limit)


def _files(stream: BinaryIO, limit: int) -> Iterator[tuple[str, bytes | None]]:
    try:
        with _Archive.open(fileobj=stream, mode="r|", tarinfo=_Member) as archive:
            yield from archive.jats_files(limit)
    except (tarfile.TarError, ValueError, OverflowError) as fault:
        raise UsageError(f"the archive is damaged or cut off ({fault}); fetch it again") from fault
