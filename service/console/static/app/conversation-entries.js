// The order of a conversation: messages of people, and the steps and messages of each run in place. Pure.

/**
 * Returns the entries of a conversation, the oldest first: {kind: "message", message}, {kind: "calls", step, run} or
 * {kind: "run", run} at the end of a run. Runs of which no step is known stand behind the messages before them.
 */
export function entriesOf(messages, runs, stepsOf) {
  const groups = [];
  for (const message of messages) {
    if (!message.run_id) groups.push({ at: message.created_at, rank: 0, entries: [{ kind: "message", message }] });
  }
  const known = new Set(runs.map((run) => run.id));
  for (const run of runs) {
    groups.push({ at: run.created_at, rank: 1, entries: entriesOfRun(run, messages, stepsOf(run.id)) });
  }
  for (const message of messages) {
    if (message.run_id && !known.has(message.run_id)) {
      groups.push({ at: message.created_at, rank: 1, entries: [{ kind: "message", message }] });
    }
  }
  return groups
    .map((group, index) => ({ ...group, index }))
    .sort((a, b) => a.at - b.at || a.rank - b.rank || a.index - b.index)
    .flatMap((group) => group.entries);
}

function entriesOfRun(run, messages, steps) {
  const written = new Map(messages.filter((message) => message.run_id === run.id).map((one) => [one.id, one]));
  const entries = [];
  for (const step of steps) {
    if (step.type === "tool_calls") entries.push({ kind: "calls", step, run });
    const message = written.get(step.step_details?.message_creation?.message_id);
    if (message) {
      entries.push({ kind: "message", message, run });
      written.delete(message.id);
    }
  }
  for (const message of written.values()) entries.push({ kind: "message", message, run });
  entries.push({ kind: "run", run });
  return entries;
}
