// A thread as it was at a version, read by the time travel of the API and kept.

import { list } from "./api.js";

const MOST_KEPT = 300;
const MOST_RUNS = 20;

export class Past {
  constructor(threadId) {
    this.path = `/v1/threads/${encodeURIComponent(threadId)}`;
    this.kept = new Map();
  }

  /** Returns {messages, runs, steps} as they were after the event with that version. */
  async at(version, signal) {
    const known = this.kept.get(version);
    if (known) return known;
    const query = { at: version, order: "asc" };
    const [messages, runs] = await Promise.all([
      list(`${this.path}/messages`, { query, signal }),
      list(`${this.path}/runs`, { query, most: 100, signal }),
    ]);
    const recent = runs.slice(-MOST_RUNS);
    const steps = await Promise.all(recent.map((run) => list(`${this.path}/runs/${run.id}/steps`, { query, signal })));
    const state = { messages, runs, steps: steps.flat() };
    if (this.kept.size >= MOST_KEPT) this.kept.delete(this.kept.keys().next().value);
    this.kept.set(version, state);
    return state;
  }
}
