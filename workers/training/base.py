"""The encoder-decoder that fine-tuning begins with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import ModelUnavailable, NotFound, UsageError
from schemas.items import Task
from schemas.registry import EngineKind, Limits, ModelEntry, Weights
from schemas.revision import pin
from schemas.weight_files import find

_REPOSITORY = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")
_PREFIXED = ("t5", "mt5", "umt5", "longt5", "switch_transformers")  # T5 and its kin
_TASK = "summarize: "
_LIMITS = Limits(batch_rows=1, batch_size=1, token_budget=1, max_rows=1, max_tokens=1)  # nothing is cut by them here


@dataclass(frozen=True, slots=True)
class Base:
    """A checkpoint on this machine. `revision` is a hub's commit, or 16 digits of a hash over the folder's files."""

    name: str
    revision: str
    folder: Path


def find_base(named: str, revision: str | None) -> Base:
    """The checkpoint of a folder, or of a hub's repository at a branch, tag or commit (its main branch if None).

    Raises:
        NotFound: neither a folder nor the name of a repository.
        UsageError: a folder with a revision.
        ModelUnavailable: it holds no weights, or the hub cannot be reached.
    """
    if Path(named).is_dir():
        if revision is not None:
            raise UsageError(f"--revision is for a hub's repository, and {named} is a folder")
        weights = Weights(path=Path(named))
    elif _REPOSITORY.fullmatch(named):
        weights = Weights(hub=named, revision=revision)
    else:
        raise NotFound(f"no folder {named}; give --from a checkpoint's folder, or a hub's repository by its name")
    entry = ModelEntry(name="base", task=Task.SUMMARIZE, engine=EngineKind.SEQ2SEQ, weights=weights, limits=_LIMITS)
    try:
        pinned = pin(entry)
    except ModelUnavailable as fault:
        raise ModelUnavailable(f"{fault}; here: --revision, or --from a folder that holds the checkpoint") from fault
    return Base(named, pinned.revision.partition("-")[0], find(pinned.entry.weights))


def task_prefix(base: Base) -> str:
    """What the model's texts begin with, unless the user says otherwise: T5 was taught tasks by their names.

    Raises:
        ModelUnavailable: the folder has no configuration that can be read, or that of no encoder-decoder.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(base.folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as fault:
        raise ModelUnavailable(
            f"{base.folder} holds no model's configuration (config.json) that can be read"
        ) from fault
    if not config.is_encoder_decoder:
        raise ModelUnavailable(f"{base.name} is no encoder-decoder, but a {config.model_type}")
    return _TASK if config.model_type in _PREFIXED else ""
