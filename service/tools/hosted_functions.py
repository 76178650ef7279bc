"""The functions that stand for hosted tools in prompts: their descriptions and parameters. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The text is short: the embedded model, which has 135 million parameters, tends to repeat long texts instead of writing
# code.
CODE_DESCRIPTION = "Runs Python and shows what it prints."
CODE_PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"code": {"type": "string"}},
    "required": ["code"],
    "additionalProperties": False,
    # An example for models without tools of their own: the embedded one does not end its code without it.
    "examples": [{"code": "print(2 + 3)"}],
}
SEARCH_DESCRIPTION = (
    "Searches the files that were given to this conversation, by meaning and by words. Write each query as a whole"
    " question or phrase in the language of the files; give several for several topics."
)
SEARCH_PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"queries": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
    "required": ["queries"],
}
# By the type of the tool, as `prompt.chat_tools` takes them.
HOSTED_FUNCTIONS: Mapping[str, Mapping[str, Any]] = {
    "code_interpreter": {"description": CODE_DESCRIPTION, "parameters": CODE_PARAMETERS},
    "file_search": {"description": SEARCH_DESCRIPTION, "parameters": SEARCH_PARAMETERS},
}
