// The threads of the project: a virtual list with filters in the URL, saved views, and acts on many.

import { get, withQuery } from "../app/api.js";
import { define, html, nothing, View } from "../app/element.js";
import { href, setQuery } from "../app/router.js";
import { canWrite } from "../app/session.js";
import { forgetPreview, previewOf } from "../app/thread-previews.js";
import { common } from "../messages/common.js";
import { threads as texts } from "../messages/threads.js";
import "../parts/bulk-acts.js";
import "../parts/metadata-tags.js";
import "../parts/saved-views.js";
import "../parts/thread-filters.js";
import "../parts/virtual-list.js";

const PAGE = 100;
const REFRESH_MS = 15_000;

/** Returns the query of the API for the filters of the URL. */
function toApiQuery({ query: words, assistant, status, metadata = "", since = "", until = "" }) {
  const query = {};
  if (words) query.query = words;
  if (assistant) query.assistant_id = assistant;
  if (status) query.status = status;
  for (const pair of metadata.split(",").map((one) => one.trim()).filter(Boolean)) {
    const [name, ...value] = pair.split("=");
    query[`metadata[${name.trim()}]`] = value.join("=").trim();
  }
  if (since) query["created_at[gte]"] = Math.floor(new Date(`${since}T00:00`) / 1000);
  if (until) query["created_at[lt]"] = Math.floor(new Date(`${until}T00:00`) / 1000) + 86_400;
  return query;
}

class Threads extends View {
  static properties = { query: { attribute: false }, found: { state: true }, hasMore: { state: true }, selected: { state: true } };

  constructor() {
    super();
    this.query = {};
    this.found = [];
    this.selected = new Set();
  }

  connectedCallback() {
    super.connectedCallback();
    this.timer = setInterval(() => this.refresh(), REFRESH_MS);
  }

  release() {
    clearInterval(this.timer);
  }

  willUpdate(changes) {
    const now = JSON.stringify(this.query);
    if (changes.has("query") && this.asked !== undefined && this.asked !== now) this.reload();
    this.asked = now;
  }

  path(after) {
    return withQuery("/v1/threads", { limit: PAGE, after, ...toApiQuery(this.query) });
  }

  async load(isCurrent) {
    const page = await get(this.path());
    if (!isCurrent()) return;
    this.found = page.data;
    this.hasMore = page.has_more;
    this.selected = new Set();
  }

  async more() {
    if (this.isBusy || !this.hasMore) return;
    this.isBusy = true;
    await this.act(async () => {
      const page = await get(this.path(this.found.at(-1)?.id));
      this.found = [...this.found, ...page.data];
      this.hasMore = page.has_more;
    });
    this.isBusy = false;
  }

  /** Adds threads that are new since the list was read, and reads the states of those in sight again. */
  async refresh() {
    if (document.hidden || this.isLoading || this.error) return;
    try {
      const page = await get(this.path());
      const known = new Set(this.found.map((one) => one.id));
      forgetPreview();
      this.found = [...page.data.filter((one) => !known.has(one.id)), ...this.found];
    } catch {
      // The next refresh tries again.
    }
  }

  select(id, isSelected) {
    const selected = new Set(this.selected);
    if (isSelected) selected.add(id);
    else selected.delete(id);
    this.selected = selected;
  }

  row(thread) {
    const preview = previewOf(thread.id, () => this.requestUpdate());
    return html`<div class="thread-row">
      ${
        canWrite()
          ? html`<input type="checkbox" aria-label=${texts.select(thread.id)} .checked=${this.selected.has(thread.id)}
              @change=${(event) => this.select(thread.id, event.target.checked)} />`
          : nothing
      }
      <a class="row-link truncate" href=${href("threads", thread.id)}>${preview.text ?? html`<span class="faint">${preview.isLoaded ? texts.noMessage : "…"}</span>`}</a>
      <et-metadata .pairs=${thread.metadata}></et-metadata>
      <span>${preview.status ? html`<et-status .status=${preview.status}></et-status>` : nothing}</span>
      <span class="faint small"><et-time .value=${thread.created_at}></et-time></span>
    </div>`;
  }

  table() {
    if (!this.found.length) {
      const isFiltered = Object.keys(toApiQuery(this.query)).length > 0;
      if (isFiltered) return html`<et-empty icon="search" heading=${texts.noMatch} text=${texts.noMatchText}></et-empty>`;
      return html`<et-empty icon="threads" heading=${texts.empty} text=${texts.emptyText} href=${canWrite() ? href("playground") : ""} action=${texts.emptyAction}></et-empty>`;
    }
    const { columns } = texts;
    return html`<div class="card list">
      <div class="thread-row thread-head tiny faint" aria-hidden="true">
        ${canWrite() ? html`<span></span>` : nothing}
        <span>${columns.text}</span><span>${columns.metadata}</span><span>${columns.status}</span><span>${columns.created}</span>
      </div>
      <et-virtual-list label=${texts.list} .items=${this.found} .row=${48} .hasMore=${this.hasMore} @more=${this.more}
        .render_item=${(thread) => this.row(thread)} .mark=${this.selected}></et-virtual-list>
    </div>`;
  }

  render() {
    return html`<div class="head">
        <div class="title"><h1>${texts.title}</h1><p>${texts.text}</p></div>
        <div class="actions">
          <et-saved-views .query=${this.query}></et-saved-views>
          ${canWrite() ? html`<a class="button primary" href=${href("playground")}><et-icon name="plus"></et-icon>${texts.new}</a>` : nothing}
        </div>
      </div>
      <et-thread-filters .query=${this.query} @change-filters=${(event) => setQuery(event.detail)}></et-thread-filters>
      ${
        this.selected.size
          ? html`<et-bulk-acts .ids=${[...this.selected]} @carried-out=${() => this.reload()}></et-bulk-acts>`
          : html`<p class="tiny faint list-count">${this.isLoading ? common.loading : texts.count(this.found.length, this.hasMore)}</p>`
      }
      ${this.whenLoaded(() => this.table())}`;
  }
}

define("et-threads", Threads);
