"""The words by which servers refuse a field, a value or a form of messages.

They are those of the servers' source or of public reports; `tests/model_servers.py` has examples.
"""

from __future__ import annotations

import re

from service.model.refusal_names import OPTIONAL_FIELDS, STRICT


def _words(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE | re.DOTALL)


UNSUPPORTED = _words(
    r"unsupported|unknown|unrecogni[sz]ed|unexpected|unavailable|不支持",
    r"not (?:\w+ ){0,3}(?:support|permit|allow|implement|available|accept|recogni[sz]ed|enabled|valid)",
    r"n't (?:\w+ ){0,2}(?:support|allow|accept)|no (?:such|longer)|extra|forbidden|deprecated",
    r"cannot|can't|could not|disabled|only (?:the )?(?:default|support)|only \S+ (?:is|are) (?:allowed|supported)",
    r"invalid (?:param|argument|field|name|request arg)|must (?:not|be (?:omitted|removed|left))|remove|requires? ",
    r"may only be|should not exist|\bunset\b|prohibited|\bomit\b|could not be mapped|isn't (?:a known|recogni[sz]ed)",
)
# Words that refuse a field and not its value, even beside words of RANGE.
UNKNOWN = _words(
    r"unsupported|unknown|unrecogni[sz]ed|unexpected|不支持|not (?:\w+ ){0,3}support|n't (?:\w+ ){0,2}support|no such",
    r"extra[ _](?:inputs|fields|forbidden)|deprecated|unavailable|prohibited|\bboth\b|only the default|not implemented",
    r"only \S+ (?:is|are) (?:allowed|supported)|no endpoints found|\bunset\b|thinking is enabled",
)
# The field is unknown with any value.
NO_FIELD = _words(
    r"unknown|unrecogni[sz]ed|unexpected|extra[ _](?:inputs|fields|forbidden|param)|propert(?:y|ies)|parameters: "
)
RANGE = _words(
    r"less than|greater than|between|out of range|\brange\b|too (?:large|small|long|many|high|low|big)|maximum|minimum",
    r"exceed|at (?:most|least)|[<>]=|≤|≥|below|above|valid number|decimal_|integer_|number_(?!not)|\bgot\b|取值范围",
    r"must be (?:in|a|an|of|one|strictly|positive|non-?negative|finite|[<>])\b|must be [<>]|(?:strictly )?positive",
    r"non-?negative|should be (?:in|between|at|less|greater)|may only be",
)
TOO_LARGE = _words(
    r"\brange\b|should be in|less than|too (?:large|many|high|big|long)|maximum|exceed|at most|<=|≤|above"
)
SCHEMA = _words(
    r"invalid (?:json )?schema|schema (?:is )?(?:invalid|not valid|too|contains|error|conversion)|in context|grammar",
    r"unrecogni[sz]ed schema|additional_?properties|\$ref|keyword|oneof|anyof|'required'|json_schema\.schema",
    r"contain the word",
)
# One of a list of values is refused, and others are not.
ENUMERATION = _words(
    r"supported values|invalid think value|does not support ['\"]|invalid value|input should be|one of"
)
# A field is refused only beside another one.
CONFLICT = _words(
    r"(?:combin|together|alongside|conjunction|same time|simultaneous|mutually|incompatible)",
    r"(?:with|when|while) (?:using )?(?:tools?|functions?)\b",
)
_FORMATS = r"json[ _]mode|json_schema|json_object|structured[ _]outputs?"
FORMAT = _words(_FORMATS)
_A_FORMAT = rf"(?:{_FORMATS}|response[ _-]?(?:format|mime type)|grammar)"
_BESIDE = r"[^.]{0,60}\b(?:with|and|or|together|alongside|combin\w+)\b[^.]{0,60}"
FORMAT_WITH_TOOLS = _words(
    rf"{_A_FORMAT}{_BESIDE}(?:tool|function)",
    rf"(?:tools?|function[ _-]?call(?:s|ing)?|functions){_BESIDE}{_A_FORMAT}",
)
GREEDY = _words(r"greedy")  # sampling without a choice, at temperature 0
NO_TOOLS = _words(
    r"(?:not|n't|endpoints found that) support (?:the )?(?:use of )?(?:tools?\b|tool (?:use|call)|function)",
    r"(?:tools?|tool (?:use|calls?|calling)|function[ _-]?call(?:ing|s)?)(?: \w+){0,3} (?:not|n't) (?:\w+ ){0,2}"
    r"support",
    r"only named tools are supported|enable-auto-tool-choice|tools? param requires|parameters?: .{0,60}['\"]tools['\"]",
    r"tool (?:use|calls?|calling) (?:is|are) (?:disabled|unavailable)",
)
NO_STREAM = _words(
    r"(?:not|n't|cannot|can't)[^.]{0,60}\bstream(?:ing)?\b(?! options)|verified to stream",
    r"\bstream(?:ing)?\b(?! options)[^.]{0,40}(?:not|n't|unsupported|disabled)",
)
TOOL = _words(r"tool|function")
ALTERNATION = _words(
    r"alternat|consecutive|successive|interleav|in a row|multiple .{0,30}roles?|same role|roles? must",
    r"last (?:role|message)|no user|no first user|first (?:role|message|user message)|after (?:role|a tool|the tool)",
    r"at least one (?:user |non-system )?message|unexpected role|must (?:start|begin|end) with|final position",
    r"system message.{0,40}(?:beginning|first|start)|ends? with .{0,20}(?:assistant|user)|immediately after a user",
    r"2 or more assistant|pre-?fill|contents (?:is|are) (?:not specified|required|empty)",
)
_ONLY_USER_AND_ASSISTANT = r"only .{0,6}user.{0,10}assistant.{0,12}(?:roles?|messages?)|valid role.{0,10}user, ?model"
NO_SYSTEM = _words(
    r"system (?:role|message|prompt|instruction)s?.{0,40}(?:not|n't|unsupported)",
    r"developer instruction.{0,20}not enabled",
    r"(?:unsupported|unknown|invalid|unexpected).{0,30}role.{0,12}system|role.{0,30}support ['\"`]?system",
    r"(?:not|n't) (?:\w+ ){0,2}support(?:ed)? .{0,20}system (?:role|message|prompt|instruction)",
    r"['\"`]system['\"`] is not|" + _ONLY_USER_AND_ASSISTANT,
)
NO_TOOL_ROLE = _words(
    r"(?:unsupported|unknown|invalid|unexpected).{0,30}role.{0,12}tool|role.{0,30}support ['\"`]?tool",
    r"tool (?:role|message)s?.{0,30}(?:not|n't|unsupported)|['\"`]tool['\"`] is not|" + _ONLY_USER_AND_ASSISTANT,
)
# A role that is not among those that the server lists.
ROLE_LIST = _words(
    r"messages?\W*\d*\W*role\W.{0,80}?(?:input should be|not one of|unknown variant \W*\w+\W* expected)"
    r"(?P<list>.{0,160})"
)
OTHER_ROLE = _words(r"(?:unexpected|unknown|invalid|unsupported) (?:message )?role")
IMAGE = _words(
    r"(?:not|n't|endpoints found that) (?:\w+ ){0,2}support (?:\w+ ){0,3}(?:image|vision|multi-?modal)"
    r"(?!s? (?:format|type|file|url|size|of|with)|_url\.)",
    r"image(?:_url|s| inputs?| content| parts?| input modality)? (?:is|are) (?:not|only) (?:\w+ )?(?:support|enabl)ed",
    r"not a (?:multi-?modal|vision)|unknown variant \W?image_url|mmproj|concatenate str \(not \Wlist",
    r"content.{0,40}must be a string|content.{0,40}should be a valid string|content.{0,20}'array' not in 'string'",
    r"content.{0,40}(?:cannot unmarshal array|invalid type: sequence|expected a string)",
)
HISTORY_OF_TOOLS = _words(
    r"without `?tools=?`? ?param|tool_?config field must be defined|`?tools`? (?:param|field|must).{0,40}"
    r"(?:defined|set|provided|present).{0,80}(?:tool_calls|tool_?use|tool calls)",
)
SIGNATURE = _words(r"thought_?signature")
REASONING = _words(r"reasoning_content.{0,60}(?:missing|must be|required|passed)|missing.{0,12}reasoning_content")
# A keyword of a schema, in the words of Gemini's API.
SCHEMA_KEYWORD = _words(
    r"unknown name [^\w$]*(?P<name>\$?\w+)\W* at \W*(?:\w+\.)?(?:tools\[|generation_config|response_format)",
)
# Refusals of the prompt, of the key, or of what the model wrote this time. They say nothing about the fields.
OTHER_CAUSES = _words(
    r"\b(?:tool_use_failed|json_validate_failed|content_filter|content_policy_violation|context_length_exceeded)\b",
    r"\b(?:exceed_context_size_error|image_parse_error|invalid_image\w*|invalid_api_key|insufficient_quota)\b",
    r"usage polic|content management policy|\bflagged\b|safety system",
)
URL = _words(r"\bhttps?://\S+")
SEVERAL_CALLS = _words(r"(?:single|one|multiple|parallel) tool[ -]?calls?\b")
CALL_ID = _words(r"tool[ _-]?(?:call|use)s?[ _.\[\]\d-]*id|call_id|tool_use_id")
NO_NULL = _words(
    r"(?<!reasoning_)content.{0,80}(?:null|none|nil\b|undefined|valid string|required|missing)",
    r"content.{0,80}(?:must be|expected) a string",
    r"content.{0,80}input should be|(?:missing|required).{0,20}content|type must be string, but is null",
)
NO_EMPTY = _words(
    r"non-?empty|(?:content|text|message).{0,60}(?:is|are|be|was) (?:empty|blank)|empty (?:content|text|message)",
    r"must not be empty|cannot be empty|content.{0,20}not empty",
)


def _pattern(name: str) -> re.Pattern[str]:
    """Returns a pattern of the field's name, also written with spaces, hyphens or capitals: "top-p", "topP"."""
    return re.compile(r"(?<![a-zA-Z0-9])" + name.replace("_", r"[_\s-]?") + r"(?![a-zA-Z0-9])", re.IGNORECASE)


NAMES = {name: _pattern(name) for name in (*OPTIONAL_FIELDS, STRICT)}
# Ollama's words about an effort.
NAMES["reasoning_effort"] = _words(
    NAMES["reasoning_effort"].pattern, r"\bthink value\b|\bsupport(?:s|ed)? (?:thinking|reasoning)\b"
)
