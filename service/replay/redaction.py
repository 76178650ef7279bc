"""Replaces secrets in recorded events, and texts too if they are not wanted. Pure.

Replacements have the length of the original, so places in texts (such as those of citations) and counts stay, and the
same text is replaced in the same way everywhere, so that a recorded run still follows from its events.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from events import codec
from events.actors import CommandLineActor
from events.envelope import SCHEMA_VERSION
from service.replay.deviations import LoggedEvent

# Secrets by name. If a pattern has a group, only that is replaced. A search takes time in proportion to the text:
# attempts that begin at different places never read the same long part of it.
SECRETS: Mapping[str, re.Pattern[str]] = {
    "private_key": re.compile(
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
    ),
    "openai_key": re.compile(r"\bsk-[A-Za-z0-9_-]{12,}"),
    "everthread_key": re.compile(r"\bet-[A-Za-z0-9_-]{32,}"),
    "webhook_secret": re.compile(r"\bwhsec_[A-Za-z0-9+/=]{16,}"),
    "github_token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})"),
    "gitlab_token": re.compile(r"\bglpat-[A-Za-z0-9_-]{16,}"),
    "slack_token": re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    "aws_key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "google_key": re.compile(r"\bAIza[A-Za-z0-9_-]{30,}"),
    "jwt": re.compile(r"\beyJ(?:(?!\beyJ)[A-Za-z0-9_-]){8,}+\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"),
    "bearer_token": re.compile(r"(?i)\b(?:bearer|basic)\s+([A-Za-z0-9._~+/-]{12,}=*)"),
    "url_password": re.compile(r"(?i)(?<=[a-z0-9+.-])://[^\s/:@]*+:([^\s/@]++)@"),
    "url_signature": re.compile(r"(?i)[?&](?:sig|signature|token|key|x-amz-[a-z-]+)=([^\s&#\"']+)"),
    "named_secret": re.compile(
        r"(?i)(?:passwor[dt]|passwd|pwd|secret|token|api[_-]?key|credentials?)\\?[\"']?\s*[:=]\s*\\?[\"']?([^\s\"'\\,;}]{4,})"
    ),
    "email": re.compile(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]++@[A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)++"),
}
# Keys of contents whose strings are no texts of people, models, tools or files: ids, names of functions, and words of
# the API. The strings below all other keys are texts.
_WORD_KEYS = """
assistant_id call_id code detail explicit_defaults file_id file_ids finish_reason fork_id form id images
incomplete_reason kind limit_field message_id message_step_id model name object outcome ranker rating reason
reasoning_effort
refused response_format role run_id sha256 status step_id thread_id tool_call_id tool_choice tool_step_id type
upstream_id vector_store_ids
"""
_WORDS = frozenset(_WORD_KEYS.split())
# Keys of values whose fields a client named, so that no key in them says that a string is such a word.
_OPAQUE = frozenset({"attributes", "filters", "json_schema", "metadata", "parameters", "schema"})
_JSON_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_LETTER, _DIGIT = re.compile(r"[^\W\d_]"), re.compile(r"\d")
# Errors that `decide` and `plan` word, so that they say nothing of the texts of a run.
_OWN_ERRORS = re.compile(
    r"The model call was broken off \d+ times\."
    r"|The run made (?:more than )?\d+ (?:model calls|calls of tools) without an end\."
    r"|The run expired (?:-?\d+ s after it had called the model: the model server's answer had not (?:ended|begun)"
    r"|while \w+ was at work)\."
    r"|The model's reply was cut off in a tool call\."
    r"|The newest message alone does not fit into the context window of '[^']*'\."
)


def redact(logged: LoggedEvent, *, has_texts: bool = True) -> LoggedEvent:
    """Returns the event of a thread without secrets.

    Unless `has_texts`, the letters of texts become x and their digits 0; names of functions and of fields, ids and the
    errors of this software stay. The account of an actor at the command line, the cause, and the commitment to the
    client are left out.
    """
    recorded = logged.recorded
    clean = replace_secrets if has_texts else blank_text
    content = orjson.loads(codec.dump(recorded.event))
    cleaned = {key: _clean_field(key, value, clean) for key, value in content.items()}
    event = codec.load(orjson.dumps(cleaned), SCHEMA_VERSION)
    actor = CommandLineActor() if isinstance(recorded.actor, CommandLineActor) else recorded.actor
    return LoggedEvent(replace(recorded, event=event, actor=actor, cause=None, client=None), logged.software)


def replace_secrets(text: str) -> str:
    """Returns the text with each secret replaced by its name in brackets and filling, cut to its length."""
    for name, pattern in SECRETS.items():
        text = pattern.sub(lambda found, name=name: _replace(found, name), text)  # type: ignore[misc]
    return text


def blank_text(text: str) -> str:
    """Returns the text with x for each letter and 0 for each digit."""
    return _DIGIT.sub("0", _LETTER.sub("x", text))


def _replace(found: re.Match[str], name: str) -> str:
    whole, part = found.group(0), found.lastindex or 0
    start, end = found.span(part)
    before, behind = whole[: start - found.start()], whole[end - found.start() :]
    return f"{before}{f'[{name}]'.ljust(end - start, 'x')[: end - start]}{behind}"


def _clean_field(key: str, value: Any, clean: Callable[[str], str]) -> Any:
    if key in _OPAQUE:
        return _clean_opaque(value, clean)
    is_word = isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))
    return _clean(value, replace_secrets if is_word and key in _WORDS else clean)


def _clean_opaque(value: Any, clean: Callable[[str], str]) -> Any:
    """Returns JSON that a client chose with its texts cleaned. The types and names of fields of a JSON Schema stay."""
    if isinstance(value, str):
        return value if value in _JSON_TYPES else clean(value)
    if isinstance(value, list):
        return [_clean_opaque(one, clean) for one in value]
    if not isinstance(value, dict):
        return value
    cleaned = {replace_secrets(key): _clean_opaque(one, clean) for key, one in value.items()}
    properties, required = value.get("properties"), value.get("required")
    if isinstance(properties, dict) and isinstance(required, list):
        cleaned["required"] = [replace_secrets(one) if one in properties else clean(str(one)) for one in required]
    return cleaned


def _clean(value: Any, clean: Callable[[str], str]) -> Any:
    """Returns JSON with its texts cleaned. Keys of objects lose their secrets, but stay otherwise."""
    if isinstance(value, str):
        return value if _OWN_ERRORS.fullmatch(value) else clean(value)
    if isinstance(value, list):
        return [_clean(one, clean) for one in value]
    if isinstance(value, dict):
        return {replace_secrets(key): _clean_field(key, one, clean) for key, one in value.items()}
    return value
