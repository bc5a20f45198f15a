"""Debian's Chromium without a screen: what a page holds once its scripts have run, and what it looks like."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import tempfile
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

SETTLE = 4000  # milliseconds of the page's own time, in which its scripts fetch and draw
COLOURS = 64


class Page(HTMLParser):
    """A page's document as the browser leaves it: its text, its table's cells, and the files that it names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.rows: list[list[str]] = []
        self.files: list[str] = []
        self._heads: list[str] = []
        self._row: list[str] | None = None  # that the cell being read belongs to
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self._row = self.rows[-1] if tag == "td" else self._heads
            self._row.append("")
        elif (tag == "link" and named.get("rel") == "stylesheet") or (tag == "script" and named.get("src")):
            self.files.append(named.get("href") or named.get("src") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._row = None

    def handle_data(self, data: str) -> None:
        if self._row is not None:
            self._row[-1] += data.strip()

    def column(self, header: str) -> list[str]:
        """The texts below a header."""
        place = self._heads.index(header)
        return [row[place] for row in self.rows if len(row) > place]


def found() -> str | None:
    """The browser's command, if there is one."""
    return shutil.which("chromium")


def read(url: str) -> Page:
    """Open a page and read its document."""
    return Page(_run("--dump-dom", url))


def text(url: str) -> str:
    """What a page of plain text shows."""
    shown = re.search(r"<pre[^>]*>(.*?)</pre>", _run("--dump-dom", url), re.DOTALL)
    assert shown is not None, f"{url} shows no plain text"
    return html.unescape(shown[1])


def picture(url: str, file: Path, width: int, height: int) -> None:
    """Take a picture of a page, in few colours: pictures of pages lose nothing by it, and two thirds of their size."""
    _run(f"--window-size={width},{height}", f"--screenshot={file}", url)
    with Image.open(file) as taken:
        taken.convert("RGB").quantize(COLOURS).save(file, optimize=True)


def _run(*arguments: str) -> str:
    command = found()
    assert command is not None
    with tempfile.TemporaryDirectory(prefix="sqbrowser-") as profile:
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}")
        return subprocess.run(
            [command, *options, f"--virtual-time-budget={SETTLE}", *arguments],
            check=True,
            timeout=120,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ).stdout
