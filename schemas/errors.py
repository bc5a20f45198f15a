"""Every error of sciqueue, in one tree. The message is one line that says what to do; `exit_code` is the shell's.

An error here is a *fault* of a command or a process. What is wrong with one row is no exception but a value,
`schemas.outcomes.Failed`, with a code from `RowError`.
"""

from __future__ import annotations

from enum import StrEnum


class SciqueueError(Exception):
    """Base of all faults that sciqueue itself reports."""

    exit_code = 1


class UsageError(SciqueueError):
    """The call cannot be carried out as written. Not worth a retry."""

    exit_code = 2


class ConfigurationError(SciqueueError):
    """A setting, a registry file or an installation is not usable. Not worth a retry until mended."""

    exit_code = 3


class NotFound(SciqueueError):
    """The job, corpus, model or file that was named does not exist."""

    exit_code = 4


class ServerUnavailable(SciqueueError):
    """PostgreSQL or the broker cannot be reached. Worth a retry."""

    exit_code = 5


class CorpusChanged(SciqueueError):
    """The source no longer begins with the rows that were loaded from it, so it cannot be continued."""

    exit_code = 6


class Conflict(SciqueueError):
    """The job's state does not allow the change that was asked for."""

    exit_code = 7


class ModelUnavailable(SciqueueError):
    """A model's weights are missing, changed, or refused. The job is paused with this reason; mend and resume."""

    exit_code = 8


class ModelTooLarge(ModelUnavailable):
    """A model does not fit into a worker's memory, whatever else that puts away. Its job is for larger workers."""

    def __init__(self, message: str, need: int) -> None:
        """`need`: bytes that the model needs at least."""
        super().__init__(message)
        self.need = need


class LeaseLost(SciqueueError):
    """This worker's lease was closed by the dispatcher; its batches belong to others now. Take a new lease."""


class StaleFence(SciqueueError):
    """The batch has been handed over again since; what was computed for the old hand-over is dropped."""


class RowError(StrEnum):
    """Why a row has no result. Stored in the outcome tables and shown in exports as `error_code`."""

    # Found while reading a corpus; a retry cannot help.
    MALFORMED_JSON = "malformed_json"
    MALFORMED_XML = "malformed_xml"
    MALFORMED_CSV = "malformed_csv"
    INVALID_UTF8 = "invalid_utf8"
    NUL_BYTE = "nul_byte"
    MISSING_FIELD = "missing_field"
    EMPTY_SMILES = "empty_smiles"
    TRAILING_TEXT = "trailing_text"
    EMPTY_TEXT = "empty_text"
    OVERSIZED = "oversized"
    # Found while preparing a row on a worker.
    INVALID_SMILES = "invalid_smiles"
    STANDARDIZATION = "standardization_failed"
    UNSUPPORTED = "unsupported_input"
    TOO_LONG = "too_long"
    # Found while computing.
    ENGINE = "engine_error"
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    WORKER_CRASH = "worker_crash"
    # Of a training run, which ended without a model.
    TRAINING = "training_failed"
