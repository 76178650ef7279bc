"""The settings: environment variables EVERTHREAD_*, which options of the command line override."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.errors import StartupError
from service.sandbox.base import MIB, Limits
from service.sandbox.packages import PackageSet, read_requirements
from service.secrets.key_source import EncryptionKeySource
from service.storage.factory import SCHEMES
from service.workers.cores import usable_cores

PREFIX = "EVERTHREAD_"
MAX_WORKERS = 256
# The user and the password in a URL.
_USER_INFO = re.compile(r"//[^/\s@]*@")
# The names of the embedded embedding models in EVERTHREAD_EMBEDDING_MODEL.
EMBEDDED_MODELS = ("all-MiniLM-L6-v2", "multilingual")
_ORIGIN = re.compile(r"https?://[^/\s,?#@]+")


class Settings(BaseSettings):
    """All settings of the server. `Settings.load()` reports wrong values in one clear line.

    URLs of databases are secrets, because they may hold a password.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    database_url: SecretStr | None = Field(None, description="PostgreSQL 15+ with pgvector ≥ 0.8; default: embedded")
    database_direct_url: SecretStr | None = Field(None, description="The same database past a pooler")
    read_url: SecretStr | None = Field(None, description="A replica of the database, for GETs that may be a little old")
    read_max_lag_s: float = Field(5.0, ge=1, le=3600, description="Seconds that it may be behind")
    database_wait_s: float = Field(60.0, ge=0, le=3600, description="Seconds that a start waits for the database")
    data_dir: Path | None = Field(None, description="Default: /var/lib/everthread as root, else the user's data folder")
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen at")
    port: int = Field(8000, ge=0, le=65535, description="TCP port; 0 picks a free one")
    workers: str = Field("1", description="Processes that serve; auto for one for each core")
    tls_cert: Path | None = Field(None, description="PEM file with the certificate chain; the server then speaks TLS")
    tls_key: Path | None = Field(None, description="PEM file with the private key of the certificate")
    max_connections: int = Field(10_000, ge=1, le=1_000_000, description="Connections of clients at once")
    max_peer_connections: int = Field(2_000, ge=1, le=1_000_000, description="The same from one address")
    api_key: SecretStr | None = Field(None, description="Default: made at first start, kept in the data directory")
    model_base_url: str | None = Field(None, description="An OpenAI-compatible server; default: the embedded model")
    model_api_key: SecretStr | None = Field(None, description="Key for the model server")
    embedding_base_url: str | None = Field(None, description="An OpenAI-compatible server for embeddings")
    embedding_model: str | None = Field(None, min_length=1, description="The embedding model of new vector stores")
    embedding_api_key: SecretStr | None = Field(None, description="Key for the embedding server")
    rewrite_model: str | None = Field(None, min_length=1, description="Chat model that rewrites queries of searches")
    blobs: str | None = Field(None, description="s3://, gs:// or az:// URL for files; default: in the data directory")
    min_free_disk_mb: int = Field(64, ge=0, le=1_048_576, description="Free MiB below which /healthz is 503")
    storage_quota_mb: int | None = Field(None, ge=1, le=1_000_000_000, description="MiB that a project may store")
    models: Path | None = Field(None, description="TOML file that maps model names to upstreams")
    sandbox_dir: Path | None = Field(None, description="Folder of the sandbox's Python; default: a cache folder")
    sandbox_install: bool = Field(False, description="Whether a missing one is made in the background at start")
    max_runs: int = Field(64, ge=1, le=10_000, description="Runs at once in this process")
    run_expires_s: int = Field(600, ge=1, le=86_400, description="Seconds after which a run expires")
    busy: Literal["reject", "queue"] = Field("reject", description="Whether threads with an active run reject or queue")
    indexing_jobs: int = Field(2, ge=1, le=64, description="Files of a project indexed at once in this server")
    indexing_timeout_s: int = Field(3600, ge=1, le=86_400, description="Seconds after which indexing a file has failed")
    max_store_files: int = Field(10_000, ge=1, le=100_000_000, description="Files that a vector store can have")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level logged, to stderr"
    )
    log_key: SecretStr | None = Field(None, description="Ed25519 key that signs the audit log; default: a file")
    log_key_file: Path | None = Field(None, description="File with that key, in PEM or base64")
    log_sign_command: SecretStr | None = Field(None, description="Command that signs in its place, for a KMS")
    log_push: SecretStr | None = Field(None, description="Folders, object stores and webhooks that get checkpoints")
    witnesses: str = Field("", description="Witnesses that cosign checkpoints: URL and key each, with commas between")
    tsa_url: SecretStr | None = Field(None, description="A time stamp authority that stamps checkpoints (RFC 3161)")
    tsa_certificates: Path | None = Field(None, description="PEM file with the certificates that it is trusted by")
    log_public_key: str | None = Field(None, description="The public key of that command's signatures")
    encryption: Literal["on", "off"] = Field("off", description="Whether a new database is encrypted")
    key: SecretStr | None = Field(None, description="Keys that encrypt the keys of the database; default: a file")
    key_file: Path | None = Field(None, description="File with these keys, in base64, the newest last")
    key_command: SecretStr | None = Field(None, description="Command that prints them in their place, for a KMS")
    key_epoch_days: int = Field(7, ge=0, le=3650, description="Days until data keys are wrapped by a new key; 0: never")
    key_term_days: int = Field(35, ge=1, le=3650, description="Days until the key before is destroyed, from then on")
    beta: Literal["strict", "lenient"] = Field("strict", description="Whether a request needs the OpenAI-Beta header")
    quotes: Literal["on", "off"] = Field("off", description="Whether v2 shows the quotes of citations")
    cors_origins: str = Field("", description="Origins whose pages may call, with commas between; * for all")
    public_url: str | None = Field(None, description="Address that links to files begin with; default: the request's")
    webhooks_allow_private: bool = Field(False, description="Whether webhooks may go to private addresses and http://")
    images_allow_private: bool = Field(False, description="Whether images in messages may be at private hosts")
    metrics: Literal["local", "open"] = Field("local", description="Whether /metrics needs a key from elsewhere")
    console: Literal["on", "off"] = Field("on", description="Whether the web console is served at /console")
    verify_runs: int = Field(1000, ge=0, le=1_000_000_000, description="One in so many runs is verified; 0 for none")
    restored: str | None = Field(None, max_length=500, description="Why the database was restored, for one start")
    audit_client: Literal["on", "off"] = Field("on", description="Whether the clients of requests are recorded")
    audit_client_days: int = Field(90, ge=1, le=3650, description="Days that their addresses are kept")

    code_interpreter: Literal["on", "off"] = Field("on", description="Whether code of models may be run, in sandboxes")
    code_packages: Literal["small", "full"] = Field("full", description="Packages of the sandbox's Python")
    code_requirements: Path | None = Field(None, description="Requirements file of packages on top of these")
    code_wall_s: float = Field(60.0, ge=1, le=3600, description="Seconds that one call of code_interpreter may take")
    code_cpu_s: int = Field(3600, ge=10, le=1_000_000, description="Seconds of CPU time of a sandbox, in all its calls")
    code_memory_mb: int = Field(1024, ge=128, le=1_048_576, description="Memory of a sandbox")
    code_processes: int = Field(64, ge=8, le=4096, description="Processes and threads in a sandbox")
    code_disk_mb: int = Field(512, ge=16, le=1_048_576, description="Disk of a sandbox, which is memory too")
    code_output_kb: int = Field(1024, ge=1, le=1024, description="Output that a call may print, in KiB")
    code_sessions: int = Field(16, ge=1, le=1000, description="Sandboxes at once in this server")
    code_idle_s: float = Field(3600.0, ge=1, description="Seconds after which an idle sandbox is closed")
    code_warm: int = Field(1, ge=0, le=100, description="Sandboxes that are kept ready")

    def encryption_keys(self, home: Path) -> EncryptionKeySource:
        """Returns where the key-encryption keys are, for the data directory `home`."""
        return EncryptionKeySource(
            folder=home / "audit",
            file=self.key_file,
            keys=None if self.key is None else self.key.get_secret_value(),
            command=None if self.key_command is None else self.key_command.get_secret_value(),
        )

    @property
    def worker_count(self) -> int:
        """The number of processes that serve."""
        return min(usable_cores(), MAX_WORKERS) if self.workers == "auto" else int(self.workers)

    @property
    def storage_quota_bytes(self) -> int | None:
        """The bytes that a project may store; None if there is no quota."""
        return None if self.storage_quota_mb is None else self.storage_quota_mb * MIB

    @property
    def code_limits(self) -> Limits:
        """The resources that one sandbox of code_interpreter may use."""
        return Limits(
            wall_s=self.code_wall_s,
            cpu_s=self.code_cpu_s,
            memory=self.code_memory_mb * MIB,
            processes=self.code_processes,
            disk=self.code_disk_mb * MIB,
            output=self.code_output_kb * 1024,
        )

    @property
    def code_package_set(self) -> PackageSet:
        """The packages of the sandbox's Python."""
        return PackageSet(self.code_packages, read_requirements(self.code_requirements))

    @model_validator(mode="after")
    def _one_source_of_keys(self) -> Self:
        if sum(value is not None for value in (self.key, self.key_file, self.key_command)) > 1:
            raise ValueError("only one of EVERTHREAD_KEY, EVERTHREAD_KEY_FILE and EVERTHREAD_KEY_COMMAND can be set")
        return self

    @model_validator(mode="after")
    def _one_log_key(self) -> Self:
        if sum(value is not None for value in (self.log_key, self.log_key_file, self.log_sign_command)) > 1:
            raise ValueError(
                "only one of EVERTHREAD_LOG_KEY, EVERTHREAD_LOG_KEY_FILE and EVERTHREAD_LOG_SIGN_COMMAND can be set"
            )
        return self

    @field_validator("workers")
    @classmethod
    def _number_of_workers(cls, value: str) -> str:
        if value != "auto" and not (value.isdecimal() and 1 <= int(value) <= MAX_WORKERS):
            raise ValueError(f"must be a number from 1 to {MAX_WORKERS}, or auto")
        return value

    @field_validator("code_requirements")
    @classmethod
    def _readable_requirements(cls, value: Path | None) -> Path | None:
        try:
            read_requirements(value)
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"must be a readable text file: {error}") from None
        return value

    @field_validator("model_base_url", "embedding_base_url", "public_url")
    @classmethod
    def _http_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value.rstrip("/") if value is not None else None

    @field_validator("blobs")
    @classmethod
    def _object_store(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(SCHEMES):
            raise ValueError(f"must start with one of {', '.join(SCHEMES)}")
        return value

    @field_validator("log_push")
    @classmethod
    def _places(cls, value: SecretStr | None) -> SecretStr | None:
        for place in _split_list(value.get_secret_value() if value is not None else ""):
            if not place.startswith(("/", "http://", "https://", *SCHEMES)):
                raise ValueError(f"must be absolute paths, {', '.join(SCHEMES)} or https:// URLs, with commas between")
        return value

    @property
    def log_push_places(self) -> tuple[str, ...]:
        """The places that get checkpoints."""
        return _split_list(self.log_push.get_secret_value() if self.log_push is not None else "")

    @field_validator("database_url", "database_direct_url", "read_url")
    @classmethod
    def _postgres_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must start with postgresql://")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        for origin in _split_list(value):
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError("must be origins such as https://app.example.com, with commas between, or *")
        return value

    @model_validator(mode="after")
    def _one_embedding_model(self) -> Self:
        if self.embedding_base_url is not None and self.embedding_model is None:
            raise ValueError("EVERTHREAD_EMBEDDING_BASE_URL needs EVERTHREAD_EMBEDDING_MODEL")
        if self.embedding_base_url is None and self.embedding_model not in (None, *EMBEDDED_MODELS):
            raise ValueError(
                "EVERTHREAD_EMBEDDING_MODEL must be multilingual, or a model of EVERTHREAD_EMBEDDING_BASE_URL, which is"
                " not set"
            )
        return self

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins of `cors_origins`, without trailing slashes."""
        return _split_list(self.cors_origins)

    @field_validator("api_key")
    @classmethod
    def _printable_key(cls, value: SecretStr | None) -> SecretStr | None:
        key = value.get_secret_value() if value is not None else "x"
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError("must be printable ASCII without spaces")
        return value

    @model_validator(mode="after")
    def _certificates_of_authority(self) -> Self:
        if self.tsa_url is not None and self.tsa_certificates is None:
            raise ValueError("EVERTHREAD_TSA_URL needs EVERTHREAD_TSA_CERTIFICATES")
        return self

    @model_validator(mode="after")
    def _both_tls_files(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("EVERTHREAD_TLS_CERT and EVERTHREAD_TLS_KEY need each other")
        return self

    @field_validator("models", "tls_cert", "tls_key")
    @classmethod
    def _readable_file(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError(f"no such file: {value}")
        return value

    def describe_changes(self) -> dict[str, str]:
        """Returns the settings that differ from their defaults, without secrets, for the log."""
        changes = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if value != field.default:
                changes[name] = "set" if isinstance(value, SecretStr) else _USER_INFO.sub("//", str(value))
        return changes

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Reads the environment; `overrides` that are not None take precedence.

        Raises StartupError with one line that names every wrong setting and holds no secret.
        """
        try:
            return cls(**{name: value for name, value in overrides.items() if value is not None})
        except ValidationError as error:
            raise StartupError(_one_line(error, overrides)) from None


def _split_list(value: str) -> tuple[str, ...]:
    return tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip())


def _one_line(error: ValidationError, overrides: dict[str, Any]) -> str:
    """Names each wrong setting as the user wrote it, without values, since a value may be a key."""
    problems = []
    for item in error.errors(include_input=False, include_url=False, include_context=False):
        message = item["msg"].removeprefix("Value error, ")
        if item["loc"]:
            name = str(item["loc"][0])
            given = f"--{name.replace('_', '-')}" if overrides.get(name) is not None else PREFIX + name.upper()
            message = f"{given}: {message}"
        problems.append(message)  # the message of several settings together names them itself
    return "; ".join(problems)
