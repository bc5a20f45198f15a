"""Archives of articles, read as streams."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest
import zstandard

from producer.readers.open import read
from producer.readers.options import ReadOptions
from schemas.errors import RowError, UsageError
from schemas.items import ContentKind, Record, Rejected

ARTICLE = b"<article><body><sec><title>A</title><p>Text %d.</p></sec></body></article>"


def archive(*extra: tarfile.TarInfo, articles: int = 3, format: int = tarfile.PAX_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=format) as tar:
        for info in extra:
            tar.addfile(info)
        for number in range(articles):
            data = ARTICLE % number
            info = tarfile.TarInfo(f"papers/{number}.nxml")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def member(name: str, type: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = type, link
    return info


def read_tar(tmp_path: Path, content: bytes, name: str = "x.tar", **options: int) -> list[Record]:
    (tmp_path / name).write_bytes(content)
    return list(read(tmp_path / name, kind=ContentKind.PAPER, options=ReadOptions(**options)))


def codes(records: list[Record]) -> list[RowError | None]:
    return [r.content.code if isinstance(r.content, Rejected) else None for r in records]


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.tgz", "x.tar.zst"])
def test_each_article_is_a_row_named_by_its_member(tmp_path: Path, name: str) -> None:
    pack = {"tar": bytes, "zst": zstandard.compress}.get(name.rsplit(".", maxsplit=1)[-1], gzip.compress)
    records = read_tar(tmp_path, pack(archive()), name)  # type: ignore[operator]
    assert [record.custom_id for record in records] == [f"papers/{number}.nxml" for number in range(3)]
    assert codes(records) == [None] * 3


def test_links_devices_folders_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    extra = (
        member("passwd.xml", tarfile.SYMTYPE, "/etc/passwd"),
        member("hard.xml", tarfile.LNKTYPE, "papers/0.nxml"),
        member("dev.xml", tarfile.CHRTYPE),
        member("folder.xml", tarfile.DIRTYPE),
        member("pipe.xml", tarfile.FIFOTYPE),
        member("._0.xml"),
        member("LICENSE.txt"),
    )
    assert len(read_tar(tmp_path, archive(*extra))) == 3


def test_names_that_climb_out_are_names_and_nothing_is_written(tmp_path: Path) -> None:
    records = read_tar(tmp_path, archive(member("../../evil.xml")))
    assert records[0].custom_id == "../../evil.xml"
    assert codes(records) == [RowError.MALFORMED_XML, None, None, None]
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar"]


def test_a_member_that_is_no_xml_or_too_long_is_one_bad_row(tmp_path: Path) -> None:
    content = archive().replace(
        b"<article><body><sec><title>A</title><p>Text 1", b"<article><body><sec><title>A</tatle><p>Text 1"
    )
    assert codes(read_tar(tmp_path, content)) == [None, RowError.MALFORMED_XML, None]
    assert codes(read_tar(tmp_path, archive(), max_row_bytes=20)) == [RowError.OVERSIZED] * 3


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_are_read(tmp_path: Path, format: int) -> None:
    records = read_tar(tmp_path, archive(member("d/" * 120 + "é.xml"), format=format))
    assert records[0].custom_id == "d/" * 120 + "é.xml"


def test_a_cut_archive_raises_wherever_it_was_cut(tmp_path: Path) -> None:
    whole = archive()
    end = max(place for place, byte in enumerate(whole) if byte) // 512 * 512 + 512
    for cut in range(0, end + 1, 256):
        with pytest.raises(UsageError, match="damaged or cut off"):
            read_tar(tmp_path, whole[:cut])


def test_a_damaged_header_raises_rather_than_ending_the_archive(tmp_path: Path) -> None:
    content = archive().replace(b"papers/1", b"papers/7")
    (tmp_path / "x.tar").write_bytes(content)
    rows = read(tmp_path / "x.tar", kind=ContentKind.PAPER)
    assert next(rows).custom_id == "papers/0.nxml"
    with pytest.raises(UsageError, match="damaged"):
        next(rows)


def test_a_header_that_claims_a_gigantic_name_is_refused_unread(tmp_path: Path) -> None:
    info = member("x", tarfile.GNUTYPE_LONGNAME)
    info.size = 1 << 33
    content = info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024
    with pytest.raises(UsageError, match="impossible size"):
        read_tar(tmp_path, content)
