"""Settings: typed, read once from the environment (`SCIQUEUE_*`) by a command, then passed on as a value."""

from __future__ import annotations

from pathlib import Path

import platformdirs
from pydantic import ByteSize, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import ConfigurationError
from schemas.logs import Format


class Settings(BaseSettings):
    """Everything that can be set from outside. Unset URLs mean: the embedded servers below `home`."""

    model_config = SettingsConfigDict(env_prefix="SCIQUEUE_", frozen=True)

    home: Path = Field(
        default_factory=lambda: platformdirs.user_data_path("sciqueue"),
        description="Folder of the embedded servers' data, logs and passwords.",
    )
    database_url: SecretStr | None = Field(
        default=None, description="A lab's own PostgreSQL, postgresql://user:password@host/db."
    )
    broker_url: SecretStr | None = Field(default=None, description="A lab's own Redis, redis://:password@host:6379/0.")
    models_file: Path | None = Field(
        default=None, description="The lab's own registry, read beside the built-in models.toml."
    )
    lease_seconds: float = Field(
        default=6.0, gt=0, description="A worker or dispatcher silent for longer than this is taken for dead."
    )
    slots: int = Field(
        default=8, ge=1, description="Batches that one worker process holds at a time; their rows are blended."
    )
    drain_seconds: float = Field(
        default=20.0, ge=0, description="How long a stopping worker may finish its batches; the rest goes back."
    )
    torch_threads: int | None = Field(
        default=None, ge=1, description="CPU threads of the model thread; unset: the cores, shared by the workers."
    )
    prepare_processes: int | None = Field(
        default=None,
        ge=0,
        description="Processes that prepare rows for each model of a worker (RDKit, sentences); 0: its own threads; "
        "unset: as many as the model thread has CPU threads.",
    )
    model_memory: ByteSize | None = Field(
        default=None,
        gt=0,
        description="Memory that the loaded models of one worker process may take together, such as 6GiB; unset: what "
        "its device has. The least recently used one goes for another that does not fit; a model that needs more than "
        "all of it is left to larger workers.",
    )
    log_format: Format = Field(default="text", description="Log lines as 'text', or as 'json' for programs.")
    metrics_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Prometheus scrapes the first worker process here, each further one a port higher; 0: no metrics.",
    )
    metrics_address: str = Field(default="127.0.0.1", description="The address that metrics are served on.")
    flower_auth: SecretStr | None = Field(
        default=None, description="user:password for Flower; unset: generated; 'off': no password."
    )

    telemetry: str | None = Field(
        default=None,
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",  # OpenTelemetry's own name; its SDK reads the rest by itself
        description="Where a collector of OpenTelemetry listens, which gets a trace a batch; unset: no traces.",
    )

    @property
    def models_folder(self) -> Path:
        """Registry entries of models that were trained on this machine, one a file."""
        return self.home / "models"

    @property
    def registry_files(self) -> tuple[Path, ...]:
        """What is read on top of the built-in registry: models trained here, then the lab's own file."""
        return (*sorted(self.models_folder.glob("*.toml")), *([self.models_file] if self.models_file else []))

    @property
    def run_dir(self) -> Path:
        """Where running processes leave their ports, passwords and logs (mode 0700)."""
        return self.home / "run"

    @property
    def known_dir(self) -> Path:
        """Where the keys of known molecules are kept, which novelty is judged by."""
        return self.home / "known"


def load_settings() -> Settings:
    """Read the environment once.

    Raises:
        ConfigurationError: a variable holds a value of the wrong form.
    """
    try:
        return Settings()
    except ValidationError as fault:
        first = fault.errors()[0]
        name = "SCIQUEUE_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(f"{name}: {first['msg']}") from fault
