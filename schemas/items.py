"""What a corpus is made of: molecules, papers and prompts, as readers yield them and as workers receive them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from schemas.errors import RowError

SUSPECTS = "sciqueue.suspects"  # the queues of batches that were running when a process died; each is run alone


def sized(queue: str, memory: int | None) -> str:
    """The queue of those workers that have so many bytes for models, by whole GiB (MiB below one): `queue.79g`.

    So no worker meets a message whose model it cannot hold. None is for work that needs no model: the plain queue.
    """
    if memory is None:
        return queue
    return f"{queue}.{memory >> 30}g" if memory >> 30 else f"{queue}.{memory >> 20}m"


class Task(StrEnum):
    """The kinds of work; each has its own queues and its own outcome table."""

    PREDICT = "predict"
    SUMMARIZE = "summarize"
    GENERATE = "generate"
    TRAIN = "train"

    @property
    def content(self) -> ContentKind:
        """The kind of item that this task works on."""
        return _CONTENT_OF[self]

    @property
    def queue(self) -> str:
        """The name of this task's Celery queues, but for the workers' size (`sized`)."""
        return f"sciqueue.{self.value}"


class ContentKind(StrEnum):
    """What the items of a corpus are."""

    MOLECULE = "molecule"
    PAPER = "paper"
    PROMPT = "prompt"
    TRAINING = "training"


INFERENCE = (Task.PREDICT, Task.SUMMARIZE, Task.GENERATE)  # the tasks of models; the other one makes models

_CONTENT_OF = {
    Task.PREDICT: ContentKind.MOLECULE,
    Task.SUMMARIZE: ContentKind.PAPER,
    Task.GENERATE: ContentKind.PROMPT,
    Task.TRAIN: ContentKind.TRAINING,
}


@dataclass(slots=True)
class Molecule:
    """A molecule as the user wrote it. It is parsed and standardized on a worker, never while loading."""

    smiles: str


@dataclass(slots=True)
class Prompt:
    """The text that a sample begins with, such as a scaffold's or a fragment's SMILES; empty for free generation.

    It is no constraint on the molecule: the model goes on where the text ends, and may close what was left open.
    """

    smiles: str = ""


@dataclass(frozen=True, slots=True)
class Training:
    """A training run, by the name of the model that it makes. How it is made is said by the job's parameters."""

    model: str


@dataclass(frozen=True, slots=True)
class Section:
    """One section of a paper. `title` may be empty; `paragraphs` are in reading order, without mark-up."""

    title: str
    paragraphs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Paper:
    """A paper's text and identifiers. At least one section holds text; the abstract may be absent."""

    title: str
    sections: tuple[Section, ...]
    abstract: str = ""
    identifiers: dict[str, str] = field(default_factory=dict)  # doi, pmid, pmcid, licence, journal, year

    def to_json(self) -> dict[str, Any]:
        """The form that is stored in `items.paper`."""
        return {
            "title": self.title,
            "abstract": self.abstract,
            "sections": [{"title": s.title, "paragraphs": list(s.paragraphs)} for s in self.sections],
            "identifiers": self.identifiers,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Paper:
        """The inverse of `to_json`."""
        return cls(
            title=stored["title"],
            abstract=stored["abstract"],
            sections=tuple(Section(s["title"], tuple(s["paragraphs"])) for s in stored["sections"]),
            identifiers=stored["identifiers"],
        )


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that cannot become an item's content: its reason, and the beginning of what was found there."""

    code: RowError
    message: str
    excerpt: str = ""


Content = Molecule | Paper | Prompt


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a source, as a reader yields it.

    `custom_id` is the user's own name for the row (`custom_id`, an `id` or name column, a file name);
    `columns` holds the source's other columns, which an export gives back unchanged.
    """

    content: Content | Rejected
    custom_id: str | None = None
    columns: dict[str, Any] | None = None


@dataclass(slots=True)
class Item:
    """One row of a corpus on a worker. `row` counts from 0 in the order of the source."""

    row: int
    content: Content | Training | Rejected
    custom_id: str | None = None
