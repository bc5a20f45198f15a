"""The demo's two corpora, read from installed packages without importing them: nothing of theirs is kept here."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from producer.packages import file_of
from schemas.items import Molecule, Paper, Record, Section


def approved_drugs() -> Iterator[Record]:
    """The drugs of DrugBank's approved set that ADMET-AI ships: SMILES, name and DrugBank id (MIT licence)."""
    with _file_of("admet-ai", "admet_ai/resources/data/drugbank_approved.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            yield Record(Molecule(row["smiles"]), custom_id=row["id"], columns={"name": row["name"]})


def aclsum_papers() -> Iterator[Record]:
    """ACLSum's test papers, introduction and conclusion (MIT licence). Their abstracts are a column, to judge by."""
    with _file_of("aclsum", "aclsum/dataset/test.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            paper = json.loads(line)
            sections = tuple(
                Section(title.capitalize(), (" ".join(paper["sentences"][title]),))
                for title in ("introduction", "conclusion")
            )
            content = Paper(paper["title"], sections, identifiers={"acl": paper["id"]})
            columns = {"abstract": " ".join(paper["sentences"]["abstract"])}
            yield Record(content, custom_id=paper["id"], columns=columns)


def _file_of(package: str, name: str) -> Path:
    return file_of(package, name, wanted_by="the demo", install="'make demo' installs it")
