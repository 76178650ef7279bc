// A vector store: its files with the state of their indexing, and a search in it.

import { get, list, post, remove } from "../app/api.js";
import { define, html, nothing, notify, View } from "../app/element.js";
import { bytes } from "../app/format.js";
import { href, navigate } from "../app/router.js";
import { canWrite } from "../app/session.js";
import { common } from "../messages/common.js";
import { stores as texts } from "../messages/files.js";
import { ask } from "../parts/confirm-dialog.js";
import "../parts/fact-list.js";
import "../parts/store-search.js";
import "../parts/upload-area.js";

const REFRESH_MS = 2000;
const MOST_FILES = 500;
// Names of files that are read at once.
const NAMES_AT_ONCE = 8;

class StorePage extends View {
  static properties = { storeId: { attribute: false }, query: { attribute: false }, store: { state: true }, files: { state: true }, names: { state: true } };

  constructor() {
    super();
    this.query = {};
    this.names = new Map();
  }

  connectedCallback() {
    super.connectedCallback();
    this.timer = setInterval(() => this.refresh(), REFRESH_MS);
  }

  release() {
    clearInterval(this.timer);
  }

  get path() {
    return `/v1/vector_stores/${encodeURIComponent(this.storeId)}`;
  }

  async load() {
    const [store, files] = await Promise.all([get(this.path), list(`${this.path}/files`, { query: { order: "desc" }, most: MOST_FILES })]);
    this.store = store;
    this.files = files;
    this.readNames();
  }

  /** Reads the names of files, which the files of a store do not have, until the view is left. */
  async readNames() {
    if (this.isReadingNames) return;
    this.isReadingNames = true;
    for (;;) {
      const missing = this.files.filter((file) => !this.names.has(file.id)).slice(0, NAMES_AT_ONCE);
      if (!missing.length || !this.isConnected) break;
      const found = await Promise.all(missing.map(({ id }) => get(`/v1/files/${encodeURIComponent(id)}`).catch(() => null)));
      this.names = new Map([...this.names, ...missing.map(({ id }, at) => [id, found[at]?.filename ?? id])]);
    }
    this.isReadingNames = false;
  }

  /** Follows the indexing while files wait for it. */
  async refresh() {
    if (document.hidden || this.isBusy || this.isLoading || this.error || !this.store?.file_counts.in_progress) return;
    this.isBusy = true;
    await this.load().catch(() => {});
    this.isBusy = false;
  }

  async attach(id) {
    await this.act(async () => {
      await post(`${this.path}/files`, { file_id: id });
      notify(texts.added);
    });
    await this.load().catch(() => {});
  }

  async detach(id) {
    await this.act(() => remove(`${this.path}/files/${encodeURIComponent(id)}`));
    await this.load().catch(() => {});
  }

  async delete() {
    if (!(await ask({ heading: texts.deleteHeading, text: texts.deleteText, action: common.delete, isDanger: true }))) return;
    await this.act(async () => {
      await remove(this.path);
      navigate(href("stores"));
    });
  }

  row(file) {
    return html`<tr>
      <td><a href=${href("files", file.id)}>${this.names.get(file.id) ?? "…"}</a>${file.last_error ? html`<br /><span class="field-error">${file.last_error.message}</span>` : nothing}</td>
      <td><et-status .status=${file.status}></et-status></td>
      <td class="right wide-only">${bytes(file.usage_bytes)}</td>
      <td class="right"><et-time .value=${file.created_at}></et-time></td>
      ${canWrite() ? html`<td class="right"><button type="button" class="quiet square" aria-label=${texts.removeFile(file.id)} @click=${() => this.detach(file.id)}><et-icon name="close"></et-icon></button></td>` : nothing}
    </tr>`;
  }

  content() {
    const { store } = this;
    const facts = [
      [texts.columns.files, texts.counts(store.file_counts)],
      [texts.usage, bytes(store.usage_bytes)],
      [texts.columns.used, html`<et-time .value=${store.last_active_at}></et-time>`],
      [texts.expires, html`<et-time .value=${store.expires_at}></et-time>`],
    ];
    return html`<div class="strip"><et-facts .facts=${facts}></et-facts></div>
      ${canWrite() ? html`<et-store-search .storeId=${this.storeId} .question=${this.query.query ?? ""}></et-store-search>` : nothing}
      <section class="card block"><h2>${texts.files}</h2>
        ${canWrite() ? html`<et-upload-area @uploaded=${(event) => this.attach(event.detail.id)}></et-upload-area>` : nothing}
        ${this.files.length === MOST_FILES ? html`<p class="tiny faint">${texts.cut(MOST_FILES)}</p>` : nothing}
        ${this.files.length ? html`<table><tbody>${this.files.map((file) => this.row(file))}</tbody></table>` : html`<p class="faint">${texts.noFiles}</p>`}
      </section>`;
  }

  render() {
    return html`<nav class="crumbs"><a href=${href("stores")}>${texts.all}</a><span>/</span><et-id .value=${this.storeId}></et-id></nav>
      <div class="head"><div class="title"><h1>${this.store?.name || common.unnamed}</h1></div><div class="actions">
        ${this.store && canWrite() ? html`<button type="button" class="danger" @click=${this.delete}>${common.delete}</button>` : nothing}
      </div></div>${this.whenLoaded(() => this.content())}`;
  }
}

define("et-store", StorePage);
