"""EVERTHREAD_MODELS: which upstream serves a name that a client asks for, and what is known of the model behind it.

    [[models]]
    match = ["gpt-4*", "chatgpt-*"]        # fnmatch patterns (case matters); the first table that matches serves
    base_url = "http://gpu:8000/v1"        # default: the default upstream
    api_key_env = "GPU_KEY"                # or api_key = "…"; default: none with a base_url, else the default's
    name = "meta-llama/Llama-3.3-70B"      # default: the name that was asked for
    context_window = 131072                # tokens
    encoding = "o200k_base"                # tiktoken's: o200k_base or cl100k_base
    margin = 1.2                           # how many times more tokens than that the model may count, 1 to 4
    vision = false
    tools = true                           # or false, or "prompted": see docs/models.md
    max_tokens_field = "max_tokens"        # how the upstream calls the limit; default: max_completion_tokens at OpenAI

What a table leaves out is filled from what is known of the upstream's name (`KNOWN`), else from cautious defaults. A
name that no table matches goes to the default upstream. With the embedded model that one serves every such name itself.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from service.model.base import ModelInfo, ToolSupport
from service.model.tokens import EncodingName

MAX_FILE_BYTES = 1024 * 1024
MAX_TABLES = 1000
MAX_MARGIN = 4.0
DEFAULT_WINDOW = 8192  # tokens, of a model that nothing is known of: too small truncates, too large fails
# For a tokenizer that nothing is known of. Measured with SmolLM2 (49k words): its tokens per cl100k_base token are 1.04
# in English, 1.15 in Python, 1.2–1.5 in other languages, 1.9 in digits; per o200k_base token 1.05, 1.14, 2–4.3, 1.9.
DEFAULT_ENCODING: EncodingName = "cl100k_base"
DEFAULT_MARGIN = 1.3

_PATTERN = frozenset("*?[")
LimitField = Literal["max_tokens", "max_completion_tokens"]
O200K: EncodingName = "o200k_base"
CL100K: EncodingName = "cl100k_base"


@dataclass(frozen=True, slots=True)
class Known:
    """Facts about a family of models, published by their maker. Window in tokens."""

    pattern: str
    window: int
    encoding: EncodingName = O200K
    vision: bool = True
    tools: bool = True
    margin: float = 1.0


# The first that matches. Names of fine-tuned models (ft:…) and routers (openai/…) are looked up without their prefix.
KNOWN: tuple[Known, ...] = (
    Known("gpt-5*-chat*", 128_000),
    Known("gpt-5*", 400_000),
    Known("o1-mini*", 128_000, vision=False, tools=False),
    Known("o1-preview*", 128_000, vision=False, tools=False),
    Known("o3-mini*", 200_000, vision=False),
    Known("o[134]*", 200_000),
    Known("gpt-4.1*", 1_047_576),
    Known("gpt-4.5*", 128_000),
    Known("gpt-4o*", 128_000),
    Known("chatgpt-4o*", 128_000, tools=False),
    Known("gpt-4-turbo-preview", 128_000, CL100K, vision=False),
    Known("gpt-4-1106-preview", 128_000, CL100K, vision=False),
    Known("gpt-4-0125-preview", 128_000, CL100K, vision=False),
    Known("gpt-4-*vision*", 128_000, CL100K, tools=False),
    Known("gpt-4-turbo*", 128_000, CL100K),
    Known("gpt-4-32k*", 32_768, CL100K, vision=False),
    Known("gpt-4*", 8_192, CL100K, vision=False),
    Known("gpt-3.5-turbo-instruct*", 4_096, CL100K, vision=False, tools=False),
    Known("gpt-3.5-turbo-0301", 4_096, CL100K, vision=False, tools=False),
    Known("gpt-3.5-turbo-0613", 4_096, CL100K, vision=False),
    Known("gpt-3.5*", 16_385, CL100K, vision=False),
    Known("gpt-35-turbo*", 16_385, CL100K, vision=False),  # Azure's spelling
    Known("gpt-oss*", 131_072, vision=False),
)
UNKNOWN = Known("*", DEFAULT_WINDOW, DEFAULT_ENCODING, vision=False, tools=True, margin=DEFAULT_MARGIN)


class CatalogError(ValueError):
    """A models file that cannot be used: one line with the file, the key and what was expected."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An upstream. The key does not show in its repr."""

    base_url: str
    api_key: str | None = field(default=None, repr=False)

    def at_openai(self) -> bool:
        host = urlsplit(self.base_url).hostname or ""
        return host == "openai.com" or host.endswith((".openai.com", ".openai.azure.com"))


@dataclass(frozen=True, slots=True)
class Route:
    """Where a call goes, and as what."""

    endpoint: Endpoint
    info: ModelInfo
    limit_field: LimitField


class _Table(BaseModel):
    """One [[models]] table."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    match: Annotated[list[Annotated[str, Field(min_length=1, max_length=256)]], Field(min_length=1, max_length=100)]
    base_url: str | None = None
    api_key: Annotated[str, Field(min_length=1)] | None = Field(None, repr=False)
    api_key_env: Annotated[str, Field(min_length=1)] | None = None
    name: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    context_window: Annotated[int, Field(ge=256, le=100_000_000)] | None = None
    encoding: EncodingName | None = None
    margin: Annotated[float, Field(ge=1, le=MAX_MARGIN)] | None = None
    vision: bool | None = None
    tools: ToolSupport | None = None
    max_tokens_field: LimitField | None = None

    @field_validator("match", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("base_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None:
            checked_url(value)
        return value

    @model_validator(mode="after")
    def _one_key(self) -> _Table:
        if self.api_key and self.api_key_env:
            raise ValueError("either api_key or api_key_env, not both")
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    models: Annotated[list[_Table], Field(max_length=MAX_TABLES)] = []


def checked_url(url: str) -> str:
    """The URL of an upstream. Raises ValueError with what was expected."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an http:// or https:// URL was expected")
    if parts.username or parts.password:
        raise ValueError("a URL without user and password was expected: the key belongs in api_key_env")
    return url


class Catalog:
    """Answers where a name goes. `served` is the embedded model: whatever no table matches is served as that."""

    def __init__(
        self, default: Endpoint, tables: tuple[tuple[_Table, Endpoint], ...] = (), served: ModelInfo | None = None
    ) -> None:
        self.default = default
        self._tables = tables
        self._served = served

    def endpoints(self) -> tuple[Endpoint, ...]:
        """All upstreams, the default one first."""
        return tuple(dict.fromkeys((self.default, *(endpoint for _, endpoint in self._tables))))

    def names(self) -> tuple[str, ...]:
        """The names that tables spell out, without patterns."""
        found = (pattern for table, _ in self._tables for pattern in table.match if not _PATTERN.intersection(pattern))
        return tuple(dict.fromkeys(found))

    def serves(self, model: str) -> bool:
        """Whether the embedded model answers this name."""
        return self._served is not None and self.route(model).endpoint == self.default

    def route(self, model: str) -> Route:
        """Where calls for this name go. Every name goes somewhere."""
        for table, endpoint in self._tables:
            if any(fnmatchcase(model, pattern) for pattern in table.match):
                return self._route(table, endpoint, model)
        if self._served is not None:
            return Route(self.default, self._served, _limit_field(self.default))
        return Route(self.default, _info(model, known(model)), _limit_field(self.default))

    def _route(self, table: _Table, endpoint: Endpoint, model: str) -> Route:
        if self._served is not None and endpoint == self.default and table.name in (None, self._served.upstream_name):
            base = self._served
        else:
            base = _info(table.name or model, known(table.name or model))
        info = ModelInfo(
            upstream_name=base.upstream_name,
            context_window=table.context_window or base.context_window,
            encoding=table.encoding or base.encoding,
            margin=table.margin or base.margin,
            vision=base.vision if table.vision is None else table.vision,
            tools=base.tools if table.tools is None else table.tools,
        )
        return Route(endpoint, info, table.max_tokens_field or _limit_field(endpoint))


def known(model: str) -> Known:
    """What is known of a model by its name."""
    name = model.removeprefix("ft:").rsplit("/", 1)[-1]
    return next((one for one in KNOWN if fnmatchcase(name, one.pattern)), UNKNOWN)


def load(
    path: Path, default: Endpoint, served: ModelInfo | None = None, environ: Mapping[str, str] = os.environ
) -> Catalog:
    """The catalogue in a TOML file. Raises CatalogError."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise CatalogError(f"{path}: a file of at most {MAX_FILE_BYTES} bytes was expected")
        parsed = _File.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CatalogError(f"{path}: UTF-8 was expected") from None
    except tomllib.TOMLDecodeError as error:
        raise CatalogError(f"{path}: TOML was expected: {error}") from None
    except ValidationError as error:
        raise CatalogError(f"{path}: {_first(error)}") from None
    tables = []
    for at, table in enumerate(parsed.models):
        tables.append((table, _endpoint(path, at, table, default, environ)))
    return Catalog(default, tuple(tables), served)


def _endpoint(path: Path, at: int, table: _Table, default: Endpoint, environ: Mapping[str, str]) -> Endpoint:
    key = table.api_key
    if table.api_key_env is not None:
        key = environ.get(table.api_key_env)
        if not key:
            raise CatalogError(
                f"{path}: models[{at}].api_key_env: the name of an environment variable that is set was expected, "
                f"and {table.api_key_env} is not"
            )
    if table.base_url is None:
        return Endpoint(default.base_url, key or default.api_key)
    return Endpoint(table.base_url.rstrip("/"), key)  # never the default's key: it is not this server's


def _first(error: ValidationError) -> str:
    """The first error, as key and expectation; never the value, which may be a key."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ""
    for part in first["loc"]:
        where += f"[{part}]" if isinstance(part, int) else f".{part}" if where else part
    if first["type"] == "extra_forbidden":
        allowed = ", ".join(_Table.model_fields if len(first["loc"]) > 1 else _File.model_fields)
        return f"{where}: no such key; expected one of {allowed}"
    words = first["msg"].removeprefix("Value error, ")
    return f"{where or 'file'}: {words[0].lower()}{words[1:]}"


def _info(name: str, facts: Known) -> ModelInfo:
    return ModelInfo(name, facts.window, facts.encoding, facts.margin, facts.vision, facts.tools)


def _limit_field(endpoint: Endpoint) -> LimitField:
    """OpenAI's newer models refuse max_tokens; many compatible servers know only that, and ignore the other."""
    return "max_completion_tokens" if endpoint.at_openai() else "max_tokens"
