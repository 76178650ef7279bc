// The spans of a run on its time axis, from the entries of its replay. Pure.

const ENDS_OF_RUN = new Set(["run.completed", "run.failed", "run.cancelled", "run.expired", "run.incomplete"]);
const ENDS_OF_CALL = new Set(["model_call.finished", "model_call.failed", "model_call.stopped"]);
const ENDS_OF_TOOL = new Set(["tool_call.finished", "tool_call.stopped"]);

const time = (entry) => new Date(entry.at).getTime() / 1000;

/**
 * Returns {start, end, spans, isOpen}, in Unix seconds. A span: {kind: "model" | "tool" | "wait" | "queue", name, start, end,
 * isFailure, entry, note}. `entry` is the one that ended it, or that began it if it goes on. `now` closes open spans.
 */
export function spansOf(entries, now) {
  if (!entries.length) return { start: 0, end: 0, spans: [], isOpen: false };
  const spans = [];
  const open = new Map();
  const begin = (key, span) => open.set(key, span);
  const finish = (key, entry, more = {}) => {
    const span = open.get(key);
    if (!span) return;
    open.delete(key);
    spans.push({ ...span, end: time(entry), entry, isFailure: entry.is_failure, ...more });
  };
  for (const entry of entries) apply(entry, begin, finish);
  const last = entries.at(-1);
  const isOpen = !ENDS_OF_RUN.has(last.type);
  const end = isOpen ? Math.max(now, time(last)) : time(last);
  for (const span of open.values()) spans.push({ ...span, end, isOpen: true });
  const start = time(entries[0]);
  return { start, end, isOpen, spans: spans.filter(isShown).sort((a, b) => a.start - b.start) };
}

// A run that begins at once has waited for nothing.
const isShown = (span) => span.kind !== "queue" || span.end - span.start > 0.005;

function apply(entry, begin, finish) {
  const { type, content } = entry;
  const at = time(entry);
  if (type === "run.created" || type === "run.queued" || type === "run.released") {
    begin("queue", { kind: "queue", name: type, start: at, entry });
  } else if (type === "run.claimed") {
    finish("queue", entry, { note: entry.summary });
  } else if (type === "model_call.started") {
    begin(`model-${content.call}-${content.attempt}`, { kind: "model", call: content.call, attempt: content.attempt, start: at, entry });
  } else if (ENDS_OF_CALL.has(type)) {
    finish(`model-${content.call}-${content.attempt}`, entry, { cost: entry.cost, usage: content.usage });
  } else if (type === "tool_call.started") {
    begin(`tool-${content.tool_call_id}`, { kind: "tool", name: content.name ?? content.kind ?? content.tool_call_id, attempt: content.attempt, start: at, entry });
  } else if (ENDS_OF_TOOL.has(type)) {
    finish(`tool-${content.tool_call_id}`, entry);
  } else if (type === "run.requires_action") {
    const names = content.tool_calls.map((call) => call.function.name).join(", ");
    begin("wait", { kind: "wait", name: names, start: at, entry });
  } else if (type === "tool_outputs.submitted" || ENDS_OF_RUN.has(type)) {
    finish("wait", entry);
    if (ENDS_OF_RUN.has(type)) finish("queue", entry);
  }
}

/** Returns the totals of a run's entries: tokens, cost in dollars, model calls, attempts and claims. */
export function totalsOf(entries) {
  const calls = entries.filter((entry) => ENDS_OF_CALL.has(entry.type));
  const last = entries.at(-1);
  return {
    prompt: sum(calls, (entry) => entry.content.usage?.prompt_tokens),
    completion: sum(calls, (entry) => entry.content.usage?.completion_tokens),
    cost: last?.cost?.total ?? sum(calls, (entry) => Number(entry.cost?.input ?? 0) + Number(entry.cost?.output ?? 0)),
    calls: new Set(calls.map((entry) => entry.content.call)).size,
    attempts: calls.length,
    claims: entries.filter((entry) => entry.type === "run.claimed").length,
  };
}

const sum = (items, value) => items.reduce((total, item) => total + (value(item) ?? 0), 0);
