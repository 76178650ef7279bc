"""The models file (EVERTHREAD_MODELS): it assigns the model names of clients to upstreams and states facts about them.

    [[models]]
    match = ["gpt-4*", "chatgpt-*"]        # fnmatch patterns (case matters); the first table that matches is used
    base_url = "http://gpu:8000/v1"        # default: the default upstream
    api_key_env = "GPU_KEY"                # or api_key = "…"; default: no key with a base_url, else the default's
    name = "meta-llama/Llama-3.3-70B"      # default: the client's name
    context_window = 131072                # tokens
    encoding = "o200k_base"                # a tiktoken encoding: o200k_base or cl100k_base
    margin = 1.2                           # factor by which the model may count more tokens, 1 to 4
    vision = false
    tools = true                           # or false, or "prompted": see docs/models.md
    max_tokens_field = "max_tokens"        # the upstream's name for the limit; default: max_completion_tokens at OpenAI

    [[models.prices]]                      # in US dollars for a million tokens, for reports of costs
    since = 2026-01-01                     # default: always
    input = 2.5
    cached_input = 1.25                    # default: input
    output = 10

A fact that a table leaves out comes from KNOWN_MODELS, by the upstream's name for the model, or else from cautious
defaults. A name that no table matches goes to the default upstream. If that is the embedded model, it serves the name
itself.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from service.model.base import ModelInfo, ToolSupport
from service.model.request_journal import LimitField
from service.model.vocabularies import EncodingName
from service.prices import Price, PriceList

MAX_FILE_BYTES = 1024 * 1024
MAX_TABLES = 1000
MAX_MARGIN = 4.0
# Prices of a model, each from another day on; US dollars for a million tokens.
MAX_PRICES = 100
MAX_PRICE = 1_000_000.0
# Names whose routes are kept, because to match a name with all patterns is slow.
MAX_KEPT_ROUTES = 1000
DEFAULT_WINDOW = (
    8192  # tokens, for an unknown model. If it is too small, prompts are truncated; if too large, they fail
)
# For an unknown tokenizer. Measured with SmolLM2 (49k words): its tokens per cl100k_base token are 1.04 in English,
# 1.15 in Python, 1.2–1.5 in other languages, 1.9 in digits; per o200k_base token 1.05, 1.14, 2–4.3, 1.9.
DEFAULT_ENCODING: EncodingName = "cl100k_base"
DEFAULT_MARGIN = 1.3

_PATTERN = frozenset("*?[")
O200K: EncodingName = "o200k_base"
CL100K: EncodingName = "cl100k_base"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Facts about a family of models, as their maker published them. `window` is in tokens."""

    pattern: str
    window: int
    encoding: EncodingName = O200K
    vision: bool = True
    tools: bool = True
    margin: float = 1.0


# The first match counts. Names of fine-tuned models (ft:…) and of routers (openai/…) are looked up without the prefix.
KNOWN_MODELS: tuple[ModelFacts, ...] = (
    ModelFacts("gpt-5*-chat*", 128_000),
    ModelFacts("gpt-5*", 400_000),
    ModelFacts("o1-mini*", 128_000, vision=False, tools=False),
    ModelFacts("o1-preview*", 128_000, vision=False, tools=False),
    ModelFacts("o3-mini*", 200_000, vision=False),
    ModelFacts("o[134]*", 200_000),
    ModelFacts("gpt-4.1*", 1_047_576),
    ModelFacts("gpt-4.5*", 128_000),
    ModelFacts("gpt-4o*", 128_000),
    ModelFacts("chatgpt-4o*", 128_000, tools=False),
    ModelFacts("gpt-4-turbo-preview", 128_000, CL100K, vision=False),
    ModelFacts("gpt-4-1106-preview", 128_000, CL100K, vision=False),
    ModelFacts("gpt-4-0125-preview", 128_000, CL100K, vision=False),
    ModelFacts("gpt-4-*vision*", 128_000, CL100K, tools=False),
    ModelFacts("gpt-4-turbo*", 128_000, CL100K),
    ModelFacts("gpt-4-32k*", 32_768, CL100K, vision=False),
    ModelFacts("gpt-4*", 8_192, CL100K, vision=False),
    ModelFacts("gpt-3.5-turbo-instruct*", 4_096, CL100K, vision=False, tools=False),
    ModelFacts("gpt-3.5-turbo-0301", 4_096, CL100K, vision=False, tools=False),
    ModelFacts("gpt-3.5-turbo-0613", 4_096, CL100K, vision=False),
    ModelFacts("gpt-3.5*", 16_385, CL100K, vision=False),
    ModelFacts("gpt-35-turbo*", 16_385, CL100K, vision=False),  # Azure's spelling
    ModelFacts("gpt-oss*", 131_072, vision=False),
)
UNKNOWN = ModelFacts("*", DEFAULT_WINDOW, DEFAULT_ENCODING, vision=False, tools=True, margin=DEFAULT_MARGIN)


class CatalogError(ValueError):
    """A models file is invalid. The message is one line with the file, the key and the expected value."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address and the key of an upstream. The repr leaves out the key."""

    base_url: str
    api_key: str | None = field(default=None, repr=False)

    def is_openai(self) -> bool:
        host = urlsplit(self.base_url).hostname or ""
        return host == "openai.com" or host.endswith((".openai.com", ".openai.azure.com"))


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """The endpoint of a call, and the facts about the model there."""

    endpoint: Endpoint
    info: ModelInfo
    limit_field: LimitField


class _PriceTable(BaseModel):
    """One [[models.prices]] table: US dollars for a million tokens from a day on."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    since: date = date.min
    input: Annotated[float, Field(ge=0, le=MAX_PRICE)]
    cached_input: Annotated[float, Field(ge=0, le=MAX_PRICE)] | None = None
    output: Annotated[float, Field(ge=0, le=MAX_PRICE)]

    def price(self) -> Price:
        cached = self.input if self.cached_input is None else self.cached_input
        dollars = [Decimal(repr(number)) for number in (self.input, cached, self.output)]
        return Price(self.since, input=dollars[0], cached_input=dollars[1], output=dollars[2])


class _Table(BaseModel):
    """One [[models]] table."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

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
    prices: Annotated[list[_PriceTable], Field(max_length=MAX_PRICES)] = []

    @field_validator("match", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("prices")
    @classmethod
    def _in_order(cls, prices: list[_PriceTable]) -> list[_PriceTable]:
        if any(later.since <= earlier.since for earlier, later in pairwise(prices)):
            raise ValueError("the prices in the order of their days were expected, one for each")
        return prices

    @field_validator("base_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None:
            check_url(value)
        return value

    @model_validator(mode="after")
    def _one_key(self) -> _Table:
        if self.api_key and self.api_key_env:
            raise ValueError("either api_key or api_key_env, not both")
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    models: Annotated[list[_Table], Field(max_length=MAX_TABLES)] = []


def check_url(url: str) -> str:
    """Returns the URL. Raises ValueError with a description of the expected URL if it cannot be an upstream's."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an http:// or https:// URL was expected")
    if parts.username or parts.password:
        raise ValueError("a URL without user and password was expected: the key belongs in api_key_env")
    return url


class Catalog:
    """Maps the names of models to routes. If `embedded` is given, that model serves every name that no table
    matches."""

    def __init__(
        self, default: Endpoint, tables: tuple[tuple[_Table, Endpoint], ...] = (), embedded: ModelInfo | None = None
    ) -> None:
        self.default = default
        self._tables = tables
        self._embedded = embedded
        self._kept_route = lru_cache(MAX_KEPT_ROUTES)(self._find_route)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Returns all upstreams, starting with the default upstream."""
        return tuple(dict.fromkeys((self.default, *(endpoint for _, endpoint in self._tables))))

    def names(self) -> tuple[str, ...]:
        """Returns the names in the tables that are not patterns."""
        names = (pattern for table, _ in self._tables for pattern in table.match if not _PATTERN.intersection(pattern))
        return tuple(dict.fromkeys(names))

    def prices(self, model: str) -> tuple[Price, ...]:
        """Returns the prices of a model by the client's name, in the order of their days; empty if it has none."""
        for table, _ in self._tables:
            if any(fnmatchcase(model, pattern) for pattern in table.match):
                return tuple(price.price() for price in table.prices)
        return ()

    def is_embedded(self, model: str) -> bool:
        """Whether the embedded model serves this name."""
        return self._embedded is not None and self.route(model).endpoint == self.default

    def route(self, model: str) -> ModelRoute:
        """Returns the route of calls for this name. Every name has a route."""
        return self._kept_route(model)

    def _find_route(self, model: str) -> ModelRoute:
        for table, endpoint in self._tables:
            if any(fnmatchcase(model, pattern) for pattern in table.match):
                return self._route(table, endpoint, model)
        if self._embedded is not None:
            return ModelRoute(self.default, self._embedded, _limit_field(self.default))
        return ModelRoute(self.default, _info(model, facts_of(model)), _limit_field(self.default))

    def _route(self, table: _Table, endpoint: Endpoint, model: str) -> ModelRoute:
        embedded = self._embedded
        if embedded is not None and endpoint == self.default and table.name in (None, embedded.upstream_name):
            base = embedded
        else:
            base = _info(table.name or model, facts_of(table.name or model))
        info = ModelInfo(
            upstream_name=base.upstream_name,
            context_window=table.context_window or base.context_window,
            encoding=table.encoding or base.encoding,
            margin=table.margin or base.margin,
            vision=base.vision if table.vision is None else table.vision,
            tools=base.tools if table.tools is None else table.tools,
        )
        return ModelRoute(endpoint, info, table.max_tokens_field or _limit_field(endpoint))


def facts_of(model: str) -> ModelFacts:
    """Returns the known facts about a model by its name, or UNKNOWN."""
    name = model.removeprefix("ft:").rsplit("/", 1)[-1]
    return next((facts for facts in KNOWN_MODELS if fnmatchcase(name, facts.pattern)), UNKNOWN)


def load_catalog(
    path: Path, default: Endpoint, embedded: ModelInfo | None = None, environ: Mapping[str, str] = os.environ
) -> Catalog:
    """Reads the catalogue from a TOML file. Raises CatalogError."""
    tables = []
    for at, table in enumerate(_read(path).models):
        tables.append((table, _endpoint(path, at, table, default, environ)))
    return Catalog(default, tuple(tables), embedded)


def _read(path: Path) -> _File:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise CatalogError(f"{path}: a file of at most {MAX_FILE_BYTES} bytes was expected")
        return _File.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CatalogError(f"{path}: UTF-8 was expected") from None
    except tomllib.TOMLDecodeError as error:
        raise CatalogError(f"{path}: TOML was expected: {error}") from None
    except ValidationError as error:
        raise CatalogError(f"{path}: {_describe_first(error)}") from None


def load_prices(path: Path) -> PriceList:
    """Reads the prices from a models file, without its keys. Raises CatalogError."""
    tables = _read(path).models
    return Catalog(Endpoint(""), tuple((table, Endpoint("")) for table in tables)).prices


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
    return Endpoint(table.base_url.rstrip("/"), key)  # the default key belongs to another server and is never sent here


def _describe_first(error: ValidationError) -> str:
    """Returns the key and the expectation of the first error, without the value, which may be an API key."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    key = ""
    for part in first["loc"]:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
    if first["type"] == "extra_forbidden":
        allowed = ", ".join(_Table.model_fields if len(first["loc"]) > 1 else _File.model_fields)
        return f"{key}: no such key; expected one of {allowed}"
    words = first["msg"].removeprefix("Value error, ")
    return f"{key or 'file'}: {words[0].lower()}{words[1:]}"


def _info(name: str, facts: ModelFacts) -> ModelInfo:
    return ModelInfo(
        upstream_name=name,
        context_window=facts.window,
        encoding=facts.encoding,
        margin=facts.margin,
        vision=facts.vision,
        tools=facts.tools,
    )


def _limit_field(endpoint: Endpoint) -> LimitField:
    """Returns the default for an endpoint. OpenAI's newer models reject max_tokens; many compatible servers support
    only max_tokens and ignore the other name."""
    return "max_completion_tokens" if endpoint.is_openai() else "max_tokens"
