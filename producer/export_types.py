"""The types of an export's columns: fixed for what sciqueue computes, unknown for what the user's source held."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from producer.results import PREFIX
from schemas.items import Task

FLOAT = pa.float32()
TEXT = pa.string()

Columns = dict[str, pa.DataType | None]
"""Names in order, with the type of each; None for a column of the user's, of which nothing is known beforehand."""

_SENTENCE = pa.struct({"text": TEXT, "section": pa.int32(), "sentence": pa.int32(), "score": FLOAT})
_FIRST = "custom_id"  # the first column of ours
_ALWAYS = {_FIRST: TEXT, "row": pa.int64()}
_BY_TASK: dict[Task, dict[str, pa.DataType]] = {
    Task.PREDICT: {"smiles": TEXT, "standardized": TEXT, "inchikey": TEXT},
    Task.SUMMARIZE: {
        **dict.fromkeys(("title", "doi", "pmid", "pmcid", "summary"), TEXT),
        "tokens": pa.int32(),
        "sentences": pa.list_(_SENTENCE),
    },
    Task.GENERATE: {
        **dict.fromkeys(("prompt", "smiles", "canonical", "inchikey", "scaffold"), TEXT),
        "sample": pa.int32(),
        "valid": pa.bool_(),
        "tokens": pa.int32(),
        "seed": pa.int64(),
        "alerts": pa.list_(TEXT),
    },
    Task.TRAIN: dict.fromkeys(("model", "revision", "folder", "card"), TEXT),
}
STATUS = -3  # where the status stands in a header: the reason's code and text follow it


def typed(header: Sequence[str], task: Task) -> Columns:
    """The columns of `producer.results.rows` with their types; all that is not named above is a 32-bit float."""
    ours = max(place for place, name in enumerate(header) if _bare(name) == _FIRST)
    known = _ALWAYS | _BY_TASK[task]
    types: Columns = dict.fromkeys(header[:ours])
    for name in header[ours:STATUS]:
        types[name] = known.pop(_bare(name), FLOAT)  # once each: an endpoint may bear the same name
    return types | dict.fromkeys(header[STATUS:], TEXT)


def _bare(name: str) -> str:
    """The name of a column of ours without what tells it from one of the user's."""
    while name.startswith(PREFIX):
        name = name.removeprefix(PREFIX)
    return name
