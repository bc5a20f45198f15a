"""The model registry: models are data. `models.toml` beside this file, and files of the lab's own on top of it."""

from __future__ import annotations

import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.errors import ConfigurationError, NotFound
from schemas.items import Task

NAME = r"^[a-z0-9][a-z0-9._-]*$"
BUILT_IN = Path(__file__).with_name("models.toml")
SHIPPED = Path(__file__).with_name("shipped")  # the weights that come with sciqueue, a folder a model
QUALITY = Path(__file__).with_name("quality")  # how good the models are that come with it, a file a model


class EngineKind(StrEnum):
    """The engines that workers have, one file each under `workers/engines/`."""

    CHEMPROP = "chemprop"
    EXTRACTIVE = "extractive"
    CAUSAL = "causal"
    CLASSIFIER = "classifier"
    SEQ2SEQ = "seq2seq"
    FAKE = "fake"
    TRAINING = "training"  # of the trainer that a training job names in a model's place; `workers/trainer.py`


class Weights(BaseModel):
    """Where a model's weights come from: one of sciqueue itself, a folder, an installed package, a hub repository."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shipped: str | None = None  # a folder in `SHIPPED`, with the files' `sha256`
    path: Path | None = None
    package: str | None = None  # an installed distribution, with `version` and the files' `sha256`
    version: str | None = None
    folder: str | None = None  # inside the package
    sha256: dict[str, str] = Field(default_factory=dict)
    hub: str | None = None  # a Hugging Face repository, with the `revision` to pin
    revision: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Weights:
        if sum(source is not None for source in (self.shipped, self.path, self.package, self.hub)) > 1:
            raise ValueError("weights come from one of shipped, path, package or hub")
        return self


class Endpoint(BaseModel):
    """One predicted property. `kind` says how to read the number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Literal["probability", "regression", "descriptor"]
    units: str = ""
    description: str = ""


class Limits(BaseModel):
    """How a corpus is cut for this model and how its rows are blended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_rows: int = Field(gt=0, description="Rows a batch: about half a second of work, for fairness between jobs.")
    batch_size: int = Field(gt=0, description="Upper bound on the summed item sizes (characters) of a batch.")
    token_budget: int = Field(gt=0, description="Padded tokens (longest x count) a micro-batch.")
    max_rows: int = Field(gt=0, description="Rows a micro-batch.")
    max_tokens: int = Field(gt=0, description="A row with more is a failure, or is read in part, as the engine says.")
    wait_ms: float = Field(default=5.0, ge=0, description="How long the first waiting row may wait for company.")
    latency_ms: float | None = Field(
        default=None, gt=0, description="How long a micro-batch may take, or others wait; unset: any time."
    )
    row_seconds: float = Field(default=10.0, gt=0, description="A batch's deadline, for each of its rows.")

    @property
    def latency(self) -> float | None:
        """`latency_ms` in seconds."""
        return None if self.latency_ms is None else self.latency_ms / 1000


class ModelEntry(BaseModel):
    """One model as the registry describes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME)
    task: Task
    engine: EngineKind
    weights: Weights = Weights()
    limits: Limits
    licence: str = ""
    description: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    trained_on: tuple[str, ...] = Field(default=(), description="Data sets that are no test of this model.")
    precision: Literal["fp32", "bf16", "int8"] = "fp32"
    parameters: dict[str, Any] = Field(default_factory=dict, description="Defaults of the job's parameters.")
    default: bool = Field(default=False, description="Used when a task is submitted without naming a model.")


class Registry:
    """Model entries by name."""

    def __init__(self, entries: list[ModelEntry]) -> None:
        self._entries = {entry.name: entry for entry in entries}

    def __iter__(self) -> Any:
        return iter(self._entries.values())

    def get(self, name: str) -> ModelEntry:
        """The entry of that name.

        Raises:
            NotFound: no such model; the message lists those there are.
        """
        try:
            return self._entries[name]
        except KeyError:
            raise NotFound(f"no model '{name}'; there are: {', '.join(sorted(self._entries))}") from None

    def default_for(self, task: Task) -> ModelEntry:
        """The model that serves a task when none is named.

        Raises:
            NotFound: no model of that task is marked as its default.
        """
        for entry in reversed(self._entries.values()):
            if entry.task is task and entry.default:
                return entry
        raise NotFound(f"no default model for {task.value}; name one with --model, or add it to SCIQUEUE_MODELS_FILE")


def load_registry(*own_files: Path) -> Registry:
    """Read the built-in registry and the lab's own files; a later entry replaces an earlier one of the same name.

    An entry with `like = "name"` takes from that earlier one what it does not say itself, but is no default.

    Raises:
        ConfigurationError: a file cannot be read or an entry is not of the right form.
    """
    entries: dict[str, ModelEntry] = {}
    written: dict[str, dict[str, Any]] = {}
    for file in (BUILT_IN, *own_files):
        try:
            described = tomllib.loads(file.read_text("utf-8"))
        except OSError as fault:
            raise ConfigurationError(f"cannot read the model registry {file}: {fault.strerror}") from fault
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
            raise ConfigurationError(f"{file} is no valid TOML: {fault}") from fault
        for name, fields in described.items():
            try:
                entries.pop(name, None)  # so that the later entry also comes later
                written[name] = _completed(fields, written)
                entries[name] = ModelEntry(name=name, **written[name])
            except KeyError as fault:
                raise ConfigurationError(f"{file}: model '{name}': like: no model {fault} before it") from fault
            except (ValidationError, TypeError) as fault:
                detail = fault.errors()[0] if isinstance(fault, ValidationError) else {"loc": "", "msg": str(fault)}
                where = ".".join(str(part) for part in detail["loc"])
                raise ConfigurationError(f"{file}: model '{name}': {where}: {detail['msg']}") from fault
    return Registry(list(entries.values()))


def _completed(fields: dict[str, Any], written: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """An entry's fields with those of the entry that it is like; of tables (`limits`), their parts."""
    if not isinstance(fields, dict) or "like" not in fields:
        return fields
    completed = {**written[fields["like"]], "default": False}
    for name, value in fields.items():
        known = completed.get(name)
        completed[name] = {**known, **value} if isinstance(known, dict) and isinstance(value, dict) else value
    del completed["like"]
    return completed
