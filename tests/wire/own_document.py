"""Checks answers that no document of the original describes against the server's own document, /openapi.json."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from service.http.openapi.document import document
from service.http.routes import ROUTES


def find_problems(method: str, path: str, body: Any) -> list[str]:
    """Returns the problems of a JSON answer to `path` (without /v1). An answer that the document lacks is a problem."""
    found = next((schema for of, pattern, schema in _answers() if of == method and pattern.fullmatch(path)), None)
    if found is None:
        return [f"nothing says what {method} {path} answers"]
    return [f"{error.json_path}: {error.message[:300]}" for error in found.iter_errors(body)]


@cache
def _answers() -> list[tuple[str, re.Pattern[str], Draft202012Validator]]:
    """Returns method, path and schema of every operation, sorted by the number of parameters in the path."""
    told: dict[str, Any] = document(ROUTES)
    components = close_objects(told["components"])
    found = []
    for path, operations in sorted(told["paths"].items(), key=lambda item: item[0].count("{")):
        pattern = re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path.removeprefix("/v1"))))
        for method, operation in operations.items():
            content = operation["responses"].get("200", {}).get("content", {})
            if "application/json" in content:
                schema = {**content["application/json"]["schema"], "components": components}
                found.append((method.upper(), pattern, Draft202012Validator(schema)))
    return found


def close_objects(document: Any) -> Any:
    """Returns the document with objects that allow no other keys than those they name."""
    match document:
        case dict():
            shut = {"additionalProperties": False} if "required" in document and "properties" in document else {}
            return {**shut, **{key: close_objects(value) for key, value in document.items()}}
        case list():
            return [close_objects(item) for item in document]
        case _:
            return document
