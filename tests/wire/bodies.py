"""Hypothesis strategies for request bodies that each version must accept, with every field of its document."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Bodies = st.SearchStrategy[dict[str, Any]]

# Characters that can be stored: no NUL, no lone surrogates.
texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), max_size=20)
words = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), min_size=1, max_size=20)
names = st.from_regex(r"\A[a-zA-Z0-9_-]{1,12}\Z")
free = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
# Valid JSON schemas of objects. The names of keywords, which `texts` seldom draws, would need values of their types.
schemas = st.dictionaries(
    texts, st.sampled_from([{}, True, {"type": "string"}, {"x-free": [1, None]}]), max_size=3
).map(lambda properties: {"type": "object", "properties": properties})
strict_schemas = st.dictionaries(
    texts, st.sampled_from([{"type": "string"}, {"type": ["null", "number"]}]), max_size=3
).map(
    lambda properties: {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }
)
metadata = st.none() | st.dictionaries(texts, texts, max_size=3)


def body(required: dict[str, Any], **optional: Any) -> Bodies:
    return st.fixed_dictionaries(required, optional=optional)


functions = body({"name": names}, description=texts, parameters=schemas)
function_tools = body({"type": st.just("function"), "function": functions})
strict_tools = body(
    {
        "type": st.just("function"),
        "function": body({"name": names}, parameters=schemas, strict=st.sampled_from([None, False]))
        | body({"name": names, "strict": st.booleans()}, parameters=strict_schemas),
    }
)
code_tools = st.just({"type": "code_interpreter"})
rankings = body({"score_threshold": st.floats(0, 1)}, ranker=st.sampled_from(["auto", "default_2024_08_21"]))
search_tools = body(
    {"type": st.just("file_search")},
    file_search=body({}, max_num_results=st.integers(1, 50), ranking_options=rankings),
)
TOOLS = {
    "v1": function_tools | code_tools | st.just({"type": "retrieval"}),
    "v2": function_tools | strict_tools | code_tools | search_tools,
}
no_files: Bodies = body(
    {},
    code_interpreter=st.sampled_from([{}, {"file_ids": []}]),
    file_search=st.sampled_from([{"vector_store_ids": []}, {"vector_stores": []}]),
)
json_schemas = body({"name": names}, description=texts, schema=schemas, strict=st.sampled_from([None, False])) | body(
    {"name": names, "strict": st.booleans()}, schema=strict_schemas
)
FORMATS = {
    "v1": st.sampled_from([None, "none", "auto", {"type": "text"}, {"type": "json_object"}]),
    "v2": st.sampled_from([None, "auto", {"type": "text"}, {"type": "json_object"}])
    | body({"type": st.just("json_schema"), "json_schema": json_schemas}),
}
CHOICES = {
    "v1": st.sampled_from([None, "none", "auto", {"type": "retrieval"}, {"type": "code_interpreter"}]),
    "v2": st.sampled_from([None, "none", "auto", "required", {"type": "file_search"}]),
}
efforts = st.sampled_from([None, "none", "minimal", "low", "medium", "high", "xhigh", "max"])
temperatures = st.none() | st.floats(0, 2) | st.integers(0, 2)
top_ps = st.none() | st.floats(0, 1) | st.integers(0, 1)
budgets = st.none() | st.integers(1, 10**6)
truncations = st.none() | body(
    {"type": st.sampled_from(["auto", "last_messages"])}, last_messages=st.none() | st.integers(1, 50)
)
text_parts = body({"type": st.just("text"), "text": words})
details = st.sampled_from(["auto", "low", "high"])
image_parts = body(
    {"type": st.just("image_url"), "image_url": body({"url": st.just("https://example.com/a.png")}, detail=details)}
)
_parts = st.lists(text_parts | image_parts, min_size=1, max_size=3)
_roles = st.sampled_from(["user", "assistant"])
MESSAGES = {
    "v1": body({"role": _roles, "content": words}, file_ids=st.just([]), metadata=metadata),
    "v2": body({"role": _roles, "content": words | _parts}, attachments=st.sampled_from([None, []]), metadata=metadata),
}


def assistants(version: str) -> Bodies:
    own: dict[str, Any] = (
        {"file_ids": st.just([])}
        if version == "v1"
        else {"tool_resources": st.none() | no_files, "reasoning_effort": efforts}
    )
    return body(
        {"model": words},
        name=st.none() | texts,
        description=st.none() | texts,
        instructions=st.none() | texts,
        tools=st.lists(TOOLS[version], max_size=3),
        metadata=metadata,
        temperature=temperatures,
        top_p=top_ps,
        response_format=FORMATS[version],
        **own,
    )


def threads(version: str) -> Bodies:
    own = {"tool_resources": st.none() | no_files} if version == "v2" else {}
    return body({}, messages=st.lists(MESSAGES[version], max_size=2), metadata=metadata, **own)


def _runs(version: str, **more: Any) -> Bodies:
    own = {"parallel_tool_calls": st.booleans()} if version == "v2" else {}
    return body(
        {"assistant_id": words},
        model=st.none() | words,
        instructions=st.none() | texts,
        tools=st.none() | st.lists(TOOLS[version], max_size=3),
        metadata=metadata,
        temperature=temperatures,
        top_p=top_ps,
        stream=st.none() | st.booleans(),
        max_prompt_tokens=budgets,
        max_completion_tokens=budgets,
        truncation_strategy=truncations,
        tool_choice=CHOICES[version],
        response_format=FORMATS[version],
        **own,
        **more,
    )


def runs(version: str) -> Bodies:
    messages = st.none() | st.lists(MESSAGES[version], max_size=2)
    own = {"reasoning_effort": efforts} if version == "v2" else {}
    return _runs(version, additional_instructions=st.none() | texts, additional_messages=messages, **own)


def threads_and_runs(version: str) -> Bodies:
    own = {"tool_resources": st.none() | no_files} if version == "v2" else {}
    return _runs(version, thread=threads(version), **own)


outputs = body(
    {"tool_outputs": st.lists(body({"tool_call_id": words, "output": texts}), max_size=3)},
    stream=st.none() | st.booleans(),
)
