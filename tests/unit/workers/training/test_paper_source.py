"""Papers to learn summaries from: by name, from an installed package, or from a file; the target is never read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import NotFound, UsageError
from workers.training.paper_source import Pair, find_papers

PAPER = {"title": "T", "abstract": "Said briefly.", "text": "Said at length.", "highlights": "Said by others."}


def written(folder: Path, *rows: Any) -> str:
    file = folder / "papers.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return str(file)


def texts(pair: Pair | str) -> list[str]:
    assert isinstance(pair, Pair)
    return [text for section in pair.paper.sections for text in section.paragraphs]


def test_aclsum_is_found_by_name_with_its_licence() -> None:
    source = find_papers("aclsum:train")
    pairs = list(source.rows())
    assert "MIT" in source.licence
    assert len(pairs) == 100
    assert all(isinstance(pair, Pair) and pair.target and len(texts(pair)) >= 2 for pair in pairs)
    assert not any(isinstance(pair, Pair) and (pair.paper.abstract or pair.target in texts(pair)) for pair in pairs)


def test_aclsums_experts_are_a_target_of_three_sentences() -> None:
    aspects = [next(find_papers("aclsum:val", name).rows()) for name in ("challenge", "approach", "outcome")]
    whole = next(find_papers("aclsum:val", "experts").rows())
    assert isinstance(whole, Pair)
    assert whole.target == " ".join(one.target for one in aspects if isinstance(one, Pair))


def test_a_file_is_read_as_it_is_and_compressed(tmp_path: Path) -> None:
    file = written(tmp_path, PAPER, "", PAPER)
    (tmp_path / "papers.jsonl.gz").write_bytes(gzip.compress(Path(file).read_bytes()))
    for name in (file, f"{file}.gz"):
        rows = list(find_papers(name).rows())
        assert [row.target for row in rows if isinstance(row, Pair)] == ["Said briefly."] * 2
        assert texts(rows[0]) == ["Said at length."]


def test_the_target_is_taken_out_of_the_paper(tmp_path: Path) -> None:
    file = written(tmp_path, PAPER)
    by_abstract = next(find_papers(file).rows())
    by_column = next(find_papers(file, "highlights").rows())
    assert isinstance(by_abstract, Pair) and by_abstract.paper.abstract == ""
    assert isinstance(by_column, Pair) and (by_column.target, by_column.paper.abstract) == (
        "Said by others.",
        "Said briefly.",
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "that are no JSON"),
        ("[1]", "that are no JSON object"),
        ({"text": "Said."}, "without text in 'abstract'"),
        ({"abstract": " ", "text": "Said."}, "without text in 'abstract'"),
        ({"abstract": ["Said."], "text": "Said."}, "without text in 'abstract'"),
        ({"abstract": "Said.", "sections": "Said."}, "not in the form of a paper"),
    ],
)
def test_a_bad_row_has_its_reason_and_the_others_go_on(tmp_path: Path, row: Any, reason: str) -> None:
    first, second, third = find_papers(written(tmp_path, PAPER, row, PAPER)).rows()
    assert (isinstance(first, Pair), second, isinstance(third, Pair)) == (True, reason, True)


@pytest.mark.parametrize("target", ["text", "sections"])
def test_what_the_model_reads_is_no_target(tmp_path: Path, target: str) -> None:
    with pytest.raises(UsageError, match="that is what the model reads"):
        find_papers(written(tmp_path, PAPER), target)


def test_what_is_neither_a_name_nor_a_file_is_refused_with_the_names() -> None:
    with pytest.raises(NotFound, match=r"no file aclsum:none.*aclsum:train"):
        find_papers("aclsum:none")


def test_a_file_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    file = tmp_path / "papers.jsonl"
    file.write_bytes(b'{"abstract": "\xff"}\n')
    with pytest.raises(UsageError, match="cannot be read"):
        list(find_papers(str(file)).rows())
