// The files of the project, and a place to upload more.

import { get, withQuery } from "../app/api.js";
import { define, html, nothing, View } from "../app/element.js";
import { bytes } from "../app/format.js";
import { href } from "../app/router.js";
import { canWrite } from "../app/session.js";
import { files as texts } from "../messages/files.js";
import { fileHead } from "../parts/file-tabs.js";
import "../parts/upload-area.js";
import "../parts/virtual-list.js";

const PAGE = 100;

class Files extends View {
  static properties = { found: { state: true }, hasMore: { state: true } };

  constructor() {
    super();
    this.found = [];
  }

  path(after) {
    return withQuery("/v1/files", { limit: PAGE, order: "desc", after });
  }

  async load() {
    const page = await get(this.path());
    this.found = page.data;
    this.hasMore = page.has_more;
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

  row(file) {
    return html`<a class="row" href=${href("files", file.id)}>
      <b class="truncate">${file.filename}</b>
      <span class="wide-only"><span class="tag">${file.purpose}</span></span>
      <span class="number wide-only">${bytes(file.bytes)}</span>
      <span class="small faint"><et-time .value=${file.created_at}></et-time></span>
    </a>`;
  }

  table() {
    if (!this.found.length) return html`<et-empty icon="files" heading=${texts.empty} text=${texts.emptyText}></et-empty>`;
    return html`<p class="tiny faint list-count">${texts.count(this.found.length, this.hasMore)}</p>
      <div class="card list rows"><et-virtual-list label=${texts.list} .items=${this.found} .row=${48} .hasMore=${this.hasMore} @more=${this.more}
        .render_item=${(file) => this.row(file)}></et-virtual-list></div>`;
  }

  render() {
    return html`${fileHead("files")}
      ${canWrite() ? html`<et-upload-area hasPurpose @uploaded=${(event) => {
        this.found = [event.detail, ...this.found];
      }}></et-upload-area>` : nothing}
      ${this.whenLoaded(() => this.table())}`;
  }
}

define("et-files", Files);
