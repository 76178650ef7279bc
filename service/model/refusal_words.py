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
)
# Words that refuse a field and not its value, even beside words of RANGE.
UNKNOWN = _words(
    r"unsupported|unknown|unrecogni[sz]ed|unexpected|不支持|not (?:\w+ ){0,3}support|n't (?:\w+ ){0,2}support|no such",
    r"extra[ _](?:inputs|fields|forbidden)|deprecated|unavailable|\bboth\b|only the default|not implemented",
    r"only \S+ (?:is|are) (?:allowed|supported)|no endpoints found",
)
# The field is unknown with any value.
NO_FIELD = _words(
    r"unknown|unrecogni[sz]ed|unexpected|extra[ _](?:inputs|fields|forbidden|param)|property|parameters: "
)
RANGE = _words(
    r"less than|greater than|between|out of range|\brange\b|too (?:large|small|long|many|high|low|big)|maximum|minimum",
    r"exceed|at (?:most|least)|[<>]=|≤|≥|below|above|valid number|decimal_|integer_|number_(?!not)|\bgot\b|取值范围",
    r"must be (?:in|a|an|of|one|strictly|positive|non-?negative|finite|[<>])\b|must be [<>]|(?:strictly )?positive",
    r"non-?negative",
)
TOO_LARGE = _words(r"less than|too (?:large|many|high|big|long)|maximum|exceed|at most|<=|≤|above")
SCHEMA = _words(
    r"invalid (?:json )?schema|schema (?:is )?(?:invalid|not valid|too|contains|error|conversion)|in context|grammar",
    r"unrecogni[sz]ed schema|additional_?properties|\$ref|keyword|oneof|anyof|'required'|json_schema\.schema",
    r"contain the word",
)
# One of a list of values is refused, and others are not.
ENUMERATION = _words(r"supported values|does not support ['\"]|invalid value|input should be|one of")
# A field is refused only beside another one.
CONFLICT = _words(
    r"(?:combin|together|alongside|conjunction|same time|simultaneous|mutually|incompatible)",
    r"(?:with|when|while) (?:using )?(?:tools?|functions?)\b",
)
FORMAT = _words(r"json[ _]mode|json_schema|json_object|structured[ _]outputs?")
NO_TOOLS = _words(
    r"(?:not|n't|endpoints found that) support (?:the )?(?:use of )?(?:tools?\b|tool (?:use|call)|function)",
    r"(?:tools?|tool (?:use|calls?|calling)|function[ _-]?call(?:ing|s)?)(?: \w+){0,3} (?:not|n't) (?:\w+ ){0,2}"
    r"support",
    r"enable-auto-tool-choice|tools? param requires|parameters?: .{0,60}['\"]tools['\"]",
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
    r"pre-?fill|contents (?:is|are) (?:not specified|required|empty)",
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
SEVERAL_CALLS = _words(r"(?:single|one|multiple|parallel) tool[ -]?calls?\b")
CALL_ID = _words(r"tool[ _-]?(?:call|use)s?[ _.\[\]\d-]*id|call_id|tool_use_id")
NO_NULL = _words(
    r"content.{0,80}(?:null|none|nil\b|undefined|valid string|required|missing|must be a string|expected a string)",
    r"content.{0,80}input should be|(?:missing|required).{0,20}content|type must be string, but is null",
)
NO_EMPTY = _words(
    r"non-?empty|(?:content|text|message).{0,60}(?:is|are|be|was) (?:empty|blank)|empty (?:content|text|message)",
    r"must not be empty|cannot be empty",
)


def _pattern(name: str) -> re.Pattern[str]:
    """Returns a pattern of the field's name, also written with spaces, hyphens or capitals: "top-p", "topP"."""
    return re.compile(r"(?<![a-zA-Z0-9])" + name.replace("_", r"[_\s-]?") + r"(?![a-zA-Z0-9])", re.IGNORECASE)


NAMES = {name: _pattern(name) for name in (*OPTIONAL_FIELDS, STRICT)}
