// The present state of a thread: its messages, runs and steps, kept up to date by the stream of the thread.

import { get, list } from "./api.js";
import { follow } from "./live.js";
import { applyMessageDelta, applyStepDelta } from "./deltas.js";

// Newest messages and runs that are shown; older ones are loaded on demand.
const MOST_MESSAGES = 200;
const MOST_RUNS = 50;
const TERMINAL = new Set(["completed", "failed", "cancelled", "expired", "incomplete"]);

export const isTerminal = (run) => TERMINAL.has(run.status);

export class ThreadFeed {
  /** `onChange` is called once a frame at most, after changes. */
  constructor(threadId, onChange) {
    this.threadId = threadId;
    this.path = `/v1/threads/${encodeURIComponent(threadId)}`;
    this.onChange = onChange;
    this.thread = null;
    this.messages = new Map();
    this.runs = new Map();
    this.steps = new Map();
    this.streaming = new Set();
    this.connection = "waiting";
    this.isDeleted = false;
  }

  /** Follows the thread, and then reads it, so that nothing is missed in between. Raises ApiError if there is none. */
  async start() {
    await new Promise((resolve, reject) => {
      this.stream = follow(`${this.path}/stream`, {
        onEvent: (event) => this.apply(event),
        onState: (state, error) => {
          this.changeConnection(state);
          if (state === "ended") reject(error);
          else resolve();
        },
      });
    });
    await this.read();
  }

  stop() {
    this.stream?.stop();
    cancelAnimationFrame(this.frame);
  }

  async read() {
    const [thread, messages, runs] = await Promise.all([
      get(this.path),
      list(`${this.path}/messages`, { query: { order: "desc" }, most: MOST_MESSAGES }),
      list(`${this.path}/runs`, { query: { order: "desc" }, most: MOST_RUNS }),
    ]);
    this.thread = thread;
    for (const message of messages.reverse()) this.keepMessage(message);
    for (const run of runs.reverse()) this.runs.set(run.id, run);
    await Promise.all([...this.runs.values()].slice(-MOST_RUNS).map((run) => this.readSteps(run)));
    this.changed();
  }

  async readSteps(run) {
    const steps = await list(`${this.path}/runs/${run.id}/steps`, { query: { order: "asc" }, most: 200 });
    for (const step of steps) this.steps.set(step.id, step);
  }

  /** The steps of a run, in their order. */
  stepsOf(runId) {
    return [...this.steps.values()].filter((step) => step.run_id === runId).sort((a, b) => a.created_at - b.created_at);
  }

  /** The run that has not ended, or undefined. */
  get activeRun() {
    return [...this.runs.values()].find((run) => !isTerminal(run));
  }

  keepMessage(message) {
    if (this.streaming.has(message.id) && message.status === "in_progress") return;
    this.messages.set(message.id, message);
  }

  changeConnection(state) {
    const wasBroken = this.connection === "waiting" && state === "open" && this.hasBeenOpen;
    this.hasBeenOpen ||= state === "open";
    this.connection = state;
    if (wasBroken) this.read().catch(() => {});
    this.changed();
  }

  apply({ event, data }) {
    switch (event) {
      case "thread.message.created":
      case "thread.message.in_progress":
        if (!this.messages.has(data.id)) this.messages.set(data.id, { ...data, content: data.content ?? [] });
        this.streaming.add(data.id);
        break;
      case "thread.message.delta":
        this.applyDelta(data);
        break;
      case "thread.message.completed":
      case "thread.message.incomplete":
        this.streaming.delete(data.id);
        this.messages.set(data.id, data);
        break;
      case "thread.run.step.delta":
        if (this.steps.has(data.id)) this.steps.set(data.id, applyStepDelta(this.steps.get(data.id), data.delta));
        break;
      case "error":
      case "done":
        break;
      default:
        if (event?.startsWith("thread.run.step.")) this.steps.set(data.id, data);
        else if (event?.startsWith("thread.run.")) this.runs.set(data.id, data);
    }
    this.changed();
  }

  applyDelta({ id, delta }) {
    const message = this.messages.get(id);
    // A delta of a message that is shown whole already came late.
    if (!message || !this.streaming.has(id)) return;
    this.messages.set(id, applyMessageDelta(message, delta));
  }

  changed() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.onChange();
    });
  }
}
