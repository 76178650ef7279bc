// A run: its waterfall, and the prompt, answer and event behind each bar; as timeline, compact, all events, or JSON.

import { get, post, withQuery } from "../app/api.js";
import { define, html, nothing, View } from "../app/element.js";
import { count, dollars, duration } from "../app/format.js";
import { follow } from "../app/live.js";
import { href, setQuery } from "../app/router.js";
import { spansOf, totalsOf } from "../app/run-spans.js";
import { canWrite } from "../app/session.js";
import { assistantNames } from "../app/assistant-names.js";
import { isTerminal } from "../app/thread-feed.js";
import { common } from "../messages/common.js";
import { run as texts } from "../messages/run.js";
import "../parts/code-view.js";
import "../parts/entry-detail.js";
import "../parts/event-table.js";
import "../parts/fact-list.js";
import "../parts/run-reviews.js";
import "../parts/view-tabs.js";
import "../parts/water-fall.js";

const PAGE = 100;
const MOST_ENTRIES = 10_000;
const TICK_MS = 250;
// Events that say what happened. The compact view shows these alone.
const MAIN = /^(run\.(created|requires_action|cancelled|completed|failed|expired|incomplete)|model_call\.(finished|failed)|tool_call\.finished|tool_outputs\.submitted|message\.written)$/;

class RunPage extends View {
  static properties = {
    threadId: { attribute: false },
    runId: { attribute: false },
    query: { attribute: false },
    run: { state: true },
    entries: { state: true },
    connection: { state: true },
    names: { state: true },
    now: { state: true },
  };

  constructor() {
    super();
    this.query = {};
    this.entries = [];
    this.names = {};
  }

  get path() {
    return `/v1/threads/${encodeURIComponent(this.threadId)}/runs/${encodeURIComponent(this.runId)}`;
  }

  async load(isCurrent) {
    this.release();
    this.run = await get(this.path);
    await this.readEntries();
    this.names = await assistantNames([this.run.assistant_id]);
    if (!isCurrent() || isTerminal(this.run)) return;
    this.stream = follow(`/v1/threads/${encodeURIComponent(this.threadId)}/stream`, {
      onEvent: ({ event }) => event?.startsWith("thread.run") && !event.endsWith(".delta") && this.refresh(),
      onState: (state) => {
        this.connection = state;
        if (state === "open") this.refresh();
      },
    });
    this.timer = setInterval(() => {
      this.now = Date.now() / 1000;
    }, TICK_MS);
  }

  release() {
    this.stream?.stop();
    clearInterval(this.timer);
  }

  /** Reads the entries behind those that are known. */
  async readEntries() {
    let after = this.entries.at(-1)?.version ?? 0;
    let more = true;
    while (more && this.entries.length < MOST_ENTRIES) {
      const page = await get(withQuery(`${this.path}/replay`, { limit: PAGE, after }));
      this.entries = [...this.entries, ...page.data];
      after = page.last_version ?? after;
      more = page.has_more;
    }
  }

  /** Reads what is new. Requests to do it while one is at work lead to one more. */
  async refresh() {
    this.isStale = true;
    if (this.isRefreshing) return;
    this.isRefreshing = true;
    try {
      while (this.isStale) {
        this.isStale = false;
        this.run = await get(this.path);
        await this.readEntries();
      }
      if (isTerminal(this.run)) this.release();
    } catch {
      // The stream's next event, or its reconnection, tries again.
    } finally {
      this.isRefreshing = false;
    }
  }

  get chosen() {
    const version = Number(this.query.event);
    return this.entries.find((entry) => entry.version === version);
  }

  choose(version) {
    setQuery({ event: version });
  }

  facts() {
    const totals = totalsOf(this.entries);
    const { start, end, isOpen } = spansOf(this.entries, this.now ?? Date.now() / 1000);
    const facts = [
      [texts.started, html`<et-time .value=${this.run.created_at}></et-time>`],
      [texts.took, html`<span class="number">${duration(end - start)}</span>${isOpen ? html` <span class="faint">${texts.running}</span>` : nothing}`],
      [texts.tokens, html`<span class="number">${texts.tokensOf(count(totals.prompt), count(totals.completion))}</span>`],
      [texts.cost, html`<span class="number">${dollars(totals.cost)}</span>`],
      [texts.calls, html`<span class="number">${texts.callsOf(totals.calls, totals.attempts)}</span>`],
      [texts.claims, html`<span class="number">${totals.claims}</span>`],
      [texts.assistant, html`<a href=${href("assistants", this.run.assistant_id)}>${this.names[this.run.assistant_id] ?? common.unnamed}</a>`],
      [texts.model, this.run.model],
    ];
    return html`<et-facts class="strip" .facts=${facts}></et-facts>`;
  }

  view() {
    const view = texts.views[this.query.view] ? this.query.view : "timeline";
    if (view === "json") return html`<et-code .value=${{ run: this.run, entries: this.entries }} language="json" label=${texts.views.json}></et-code>`;
    const entries = view === "compact" ? this.entries.filter((entry) => MAIN.test(entry.type)) : this.entries;
    const list =
      view === "timeline"
        ? html`<et-waterfall .spans=${spansOf(this.entries, this.now ?? Date.now() / 1000)} .chosen=${this.chosen?.version}
            @choose=${(event) => this.choose(event.detail)}></et-waterfall>`
        : html`<et-event-table .entries=${entries} .chosen=${this.chosen?.version} @choose=${(event) => this.choose(event.detail)}></et-event-table>`;
    return html`<div class="split">
      <div class="card">${list}</div>
      <et-entry-detail .entry=${this.chosen}></et-entry-detail>
    </div>`;
  }

  content() {
    const { run } = this;
    return html`${this.connection === "waiting" ? html`<p class="offline" role="status"><et-icon name="alert"></et-icon>${common.reconnecting}</p>` : nothing}
      ${run.last_error ? html`<div class="notice bad" role="status"><et-icon name="alert"></et-icon><div><h3>${texts.failed}</h3><p>${run.last_error.message}</p></div></div>` : nothing}
      ${this.facts()}
      <et-view-tabs label=${texts.viewsLabel} .views=${texts.views} .current=${this.query.view ?? "timeline"} @view=${(event) => setQuery({ view: event.detail })}></et-view-tabs>
      ${this.entries.length ? this.view() : html`<et-empty icon="replay" heading=${texts.empty} text=${texts.emptyText}></et-empty>`}
      <et-reviews .path=${this.path}></et-reviews>`;
  }

  render() {
    const { run, threadId, runId } = this;
    const isActive = run && !isTerminal(run);
    return html`<nav class="crumbs"><a href=${href("threads")}>Threads</a><span>/</span><et-id .value=${threadId} .href=${href("threads", threadId)}></et-id><span>/</span><et-id .value=${runId}></et-id></nav>
      <div class="head">
        <div class="title"><h1>${texts.title} ${run ? html`<et-status .status=${run.status}></et-status>` : nothing}</h1></div>
        <div class="actions">
          ${isActive && canWrite() ? html`<button type="button" @click=${() => this.act(() => post(`${this.path}/cancel`))}>${texts.cancel}</button>` : nothing}
          <a class="button" href=${href("threads", threadId)}>${texts.conversation}</a>
          <a class="button" href=${href("threads", threadId, "replay", { at: this.entries.at(0)?.version })}><et-icon name="replay"></et-icon>${texts.replay}</a>
          ${canWrite() && run ? html`<a class="button" href=${href("playground", { like: `${threadId}/${runId}` })}><et-icon name="fork"></et-icon>${texts.startLike}</a>` : nothing}
        </div>
      </div>
      ${this.whenLoaded(() => this.content())}`;
  }
}

define("et-run", RunPage);
