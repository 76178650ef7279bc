// The replay of a thread: a slider over its events, the conversation as it was, and what each event changed.

import { get, post, withQuery } from "../app/api.js";
import { assistantNames } from "../app/assistant-names.js";
import { define, html, nothing, View } from "../app/element.js";
import { clockTime, exactTime } from "../app/format.js";
import { Past } from "../app/past.js";
import { href, navigate, setQuery } from "../app/router.js";
import { canAudit, canFork, canWrite, session } from "../app/session.js";
import { replay as texts } from "../messages/replay.js";
import { thread } from "../messages/threads.js";
import "../parts/code-view.js";
import "../parts/conversation.js";
import "../parts/event-table.js";
import "../parts/replay-bar.js";

const PAGE = 500;
const MOST_EVENTS = 20_000;
const REFRESH_MS = 2000;
// Steps that come faster than this are passed over: the conversation is read for the last one.
const SETTLE_MS = 60;
const CHANGED = ["message_id", "step_id", "run_id"];

class ReplayPage extends View {
  static properties = {
    threadId: { attribute: false },
    query: { attribute: false },
    events: { state: true },
    state: { state: true },
    isBehind: { state: true },
    names: { state: true },
  };

  constructor() {
    super();
    this.query = {};
    this.events = [];
    this.names = {};
    this.onKey = (event) => this.pressed(event);
  }

  connectedCallback() {
    super.connectedCallback();
    addEventListener("keydown", this.onKey);
  }

  release() {
    removeEventListener("keydown", this.onKey);
    clearTimeout(this.settling);
    clearInterval(this.timer);
    this.reading?.abort();
  }

  get canRead() {
    return canAudit() && session().scope !== "audit";
  }

  async load(isCurrent) {
    if (!this.canRead) return;
    this.past = new Past(this.threadId);
    this.lastIndex = -1;
    this.events = [];
    await this.readEvents();
    if (!isCurrent()) return;
    clearInterval(this.timer);
    this.timer = setInterval(() => this.readEvents().catch(() => {}), REFRESH_MS);
    await this.follow();
    this.names = await assistantNames((this.state?.runs ?? []).map((run) => run.assistant_id));
  }

  /** Reads the events behind those that are known. The feed has an event about a second after it was written. */
  async readEvents() {
    const events = [];
    let more = true;
    while (more && this.events.length + events.length < MOST_EVENTS) {
      const query = { stream_id: this.threadId, "include[]": "content", limit: PAGE, after: this.lastIndex };
      const page = await get(withQuery("/v1/audit/events", query));
      events.push(...page.data);
      this.lastIndex = page.last_index ?? this.lastIndex;
      more = page.has_more;
    }
    if (events.length) this.events = [...this.events, ...events].sort((a, b) => a.version - b.version).map(toEntry);
  }

  /** The index of the event of the URL; the last one by default. */
  get index() {
    const version = Number(this.query.at);
    const found = this.events.findIndex((event) => event.version === version);
    return found < 0 ? this.events.length - 1 : found;
  }

  get entry() {
    return this.events[this.index];
  }

  willUpdate(changes) {
    if (changes.has("query") && this.events.length && this.shown !== this.entry.version) this.settle();
  }

  go(index) {
    const entry = this.events[Math.max(0, Math.min(this.events.length - 1, index))];
    if (entry) setQuery({ at: entry.version });
  }

  settle() {
    this.isBehind = true;
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.act(() => this.follow()), SETTLE_MS);
  }

  /** Reads the conversation of the current event. A later call takes the place of an earlier one. */
  async follow() {
    const entry = this.entry;
    if (!entry) return;
    this.reading?.abort();
    this.reading = new AbortController();
    try {
      const state = await this.past.at(entry.version, this.reading.signal);
      this.state = state;
      this.shown = entry.version;
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.status !== 404) throw error;
      // The thread was deleted at this version.
      this.state = { messages: [], runs: [], steps: [] };
      this.shown = entry.version;
    }
    this.isBehind = this.entry.version !== this.shown;
  }

  pressed(event) {
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) && event.target.type !== "range") return;
    const jumps = { ArrowLeft: this.index - 1, ArrowRight: this.index + 1, Home: 0, End: this.events.length - 1 };
    if (!(event.key in jumps) || event.metaKey || event.ctrlKey || event.altKey) return;
    event.preventDefault();
    this.go(jumps[event.key]);
  }

  async fork(at, query = {}) {
    await this.act(async () => {
      const made = await post(`/v1/threads/${this.threadId}/fork`, { at });
      navigate(href("playground", { thread: made.id, ...query }));
    });
  }

  rerun(runId) {
    const created = this.events.find((event) => event.type === "run.created" && event.content.run_id === runId);
    return this.fork(created.version - 1, { like: `${this.threadId}/${runId}` });
  }

  actions() {
    const runId = this.entry?.content.run_id;
    const canRerun = runId && this.events.some((event) => event.type === "run.created" && event.content.run_id === runId);
    return html`${canFork() && this.entry ? html`<button type="button" @click=${() => this.fork(this.entry.version)}><et-icon name="fork"></et-icon>${texts.forkHere}</button>` : nothing}
      ${canRerun && canWrite() ? html`<button type="button" @click=${() => this.rerun(runId)}><et-icon name="replay"></et-icon>${texts.rerun}</button>` : nothing}`;
  }

  content() {
    if (!this.canRead) return html`<p class="notice calm">${texts.needsAudit}</p>`;
    if (!this.events.length) return html`<et-empty icon="replay" heading=${texts.empty} text=${texts.emptyText}></et-empty>`;
    const { entry } = this;
    const state = this.state ?? { messages: [], runs: [], steps: [] };
    const highlights = new Set(CHANGED.map((name) => entry.content[name]).filter(Boolean));
    return html`<et-replay-bar .events=${this.events} .index=${this.index} @go=${(event) => this.go(event.detail)}></et-replay-bar>
      <div class="replay-columns">
        <section class="card"><et-event-table .entries=${this.events} .chosen=${entry.version} @choose=${(event) => setQuery({ at: event.detail })}></et-event-table></section>
        <section class="replay-state" aria-label=${texts.conversation} aria-busy=${Boolean(this.isBehind)} data-version=${this.shown ?? ""}>
          <et-conversation .messages=${state.messages} .runs=${state.runs} .stepsOf=${(id) => state.steps.filter((step) => step.run_id === id)}
            .names=${this.names} .highlights=${highlights} .isPast=${true}></et-conversation>
        </section>
        <aside class="card detail"><header><h2 class="mono">${entry.type}</h2><span class="tiny faint number" title=${exactTime(entry.at)}>${clockTime(entry.at)}</span></header>
          <p class="tiny faint mono">${entry.actor}</p>
          <et-code .value=${entry.content} language="json" label=${texts.data}></et-code></aside>
      </div>
      <p class="tiny faint">${texts.keys}</p>`;
  }

  render() {
    return html`<nav class="crumbs"><a href=${href("threads")}>${thread.all}</a><span>/</span><et-id .value=${this.threadId} .href=${href("threads", this.threadId)}></et-id></nav>
      <div class="head"><div class="title"><h1>${texts.title}</h1><p>${texts.text}</p></div><div class="actions">${this.actions()}</div></div>
      ${this.whenLoaded(() => this.content())}`;
  }
}

/** Returns an event of the audit feed in the form of the entries of a run's replay. */
function toEntry(event, at, events) {
  const before = events[at - 1];
  const gap = before ? (new Date(event.at) - new Date(before.at)) / 1000 : 0;
  return { ...event, gap_s: gap, is_failure: /\.(failed|expired)$/.test(event.type), summary: "" };
}

define("et-replay", ReplayPage);
