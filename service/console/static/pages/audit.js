// The audit: the log as it grows, with filters in the URL, and the proof of each event.

import { define, html, nothing, View } from "../app/element.js";
import { AuditFeed } from "../app/audit-feed.js";
import { shortId } from "../app/format.js";
import { setQuery } from "../app/router.js";
import { auditViews, audit as texts } from "../messages/audit.js";
import "../parts/audit-event.js";
import "../parts/checkpoint-card.js";
import "../parts/erasure-panel.js";
import "../parts/verification-panel.js";
import "../parts/view-tabs.js";
import "../parts/virtual-list.js";

const WAIT_MS = 300;
const ROW_PX = 44;
const FILTERS = ["type", "stream", "actor", "request", "since", "until"];

class Audit extends View {
  static properties = { query: { attribute: false }, chosen: { state: true } };

  constructor() {
    super();
    this.query = {};
    this.chosen = null;
  }

  willUpdate(changes) {
    const now = JSON.stringify(this.query);
    if (changes.has("query") && this.asked !== undefined && this.asked !== now) this.reload();
    this.asked = now;
  }

  get view() {
    return auditViews[this.query.view] ? this.query.view : "events";
  }

  async load(isCurrent) {
    this.feed?.stop();
    if (this.view !== "events") return;
    const feed = new AuditFeed(this.query, () => this.requestUpdate());
    this.feed = feed;
    await feed.start();
    if (!isCurrent()) feed.stop();
  }

  release() {
    this.feed?.stop();
  }

  filter(name, type, label, hint = "") {
    return html`<label class="filter"><span class="tiny faint">${label}</span>
      <input type=${type} placeholder=${hint} .value=${this.query[name] ?? ""} @input=${(event) => {
        clearTimeout(this.timer);
        const { value } = event.target;
        this.timer = setTimeout(() => setQuery({ [name]: value.trim() }), WAIT_MS);
      }} /></label>`;
  }

  filters() {
    const isFiltered = FILTERS.some((name) => this.query[name]);
    return html`<search class="filters">
      ${this.filter("type", "text", texts.type, texts.typeHint)}
      ${this.filter("stream", "text", texts.stream, texts.streamHint)}
      ${this.filter("actor", "text", texts.actor, texts.actorHint)}
      ${this.filter("request", "text", texts.request, texts.requestHint)}
      ${this.filter("since", "date", texts.since)}
      ${this.filter("until", "date", texts.until)}
      ${isFiltered ? html`<button type="button" class="quiet" @click=${() => setQuery(Object.fromEntries(FILTERS.map((name) => [name, ""])))}>${texts.clear}</button>` : nothing}
    </search>`;
  }

  row(event) {
    const isChosen = this.chosen?.index === event.index;
    return html`<button type="button" class="feed-row" aria-pressed=${isChosen} @click=${() => {
      this.chosen = isChosen ? null : event;
    }}>
      <span class="number faint">${event.index}</span>
      <b class="truncate">${event.type}</b>
      <span class="mono tiny truncate" title=${event.stream_id}>${shortId(event.stream_id)}/${event.version}</span>
      <span class="tiny faint truncate" title=${event.actor}>${event.actor}</span>
      <span class="small faint"><et-time .value=${event.at}></et-time></span>
    </button>`;
  }

  content() {
    const { events, newCount, hasMore } = this.feed;
    if (!events.length && !newCount) return html`<et-empty icon="audit" heading=${texts.empty} text=${texts.emptyText}></et-empty>`;
    return html`<div class="split" ?data-open=${this.chosen !== null}>
      <div>
        ${newCount ? html`<p><button type="button" @click=${() => this.act(() => this.feed.takeNew())}>${texts.newer(newCount)}</button></p>` : nothing}
        <div class="card list"><et-virtual-list label=${texts.list} .items=${events} .row=${ROW_PX} .hasMore=${hasMore} @more=${() => this.act(() => this.feed.more())}
          .render_item=${(event) => this.row(event)} .mark=${this.chosen}></et-virtual-list></div>
      </div>
      ${this.chosen ? html`<et-audit-event .event=${this.chosen} @close-event=${() => {
        this.chosen = null;
      }}></et-audit-event>` : nothing}
    </div>`;
  }

  render() {
    return html`<div class="head"><div class="title"><h1>${texts.title}</h1><p>${texts.text}</p></div></div>
      <et-view-tabs label=${texts.title} .views=${auditViews} current=${this.view}
        @view=${(event) => setQuery({ view: event.detail === "events" ? "" : event.detail }, {})}></et-view-tabs>
      ${this.panel()}`;
  }

  panel() {
    if (this.view === "verification") return html`<et-verification></et-verification>`;
    if (this.view === "erasure") return html`<et-erasure .stream=${this.query.stream ?? ""}></et-erasure>`;
    return html`<et-checkpoint></et-checkpoint>${this.filters()}${this.whenLoaded(() => this.content())}`;
  }
}

define("et-audit", Audit);
