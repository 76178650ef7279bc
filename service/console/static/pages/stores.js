// The vector stores of the project.

import { list, post } from "../app/api.js";
import { define, html, nothing, View } from "../app/element.js";
import { bytes } from "../app/format.js";
import { href, navigate } from "../app/router.js";
import { canWrite } from "../app/session.js";
import { common } from "../messages/common.js";
import { stores as texts } from "../messages/files.js";
import { fileHead } from "../parts/file-tabs.js";

class Stores extends View {
  static properties = { found: { state: true } };

  async load() {
    this.found = await list("/v1/vector_stores", { query: { order: "desc" } });
  }

  async create(event) {
    event.preventDefault();
    const name = event.target.elements.name.value.trim();
    await this.act(async () => navigate(href("stores", (await post("/v1/vector_stores", name ? { name } : {})).id)));
  }

  row(store) {
    return html`<a class="row" href=${href("stores", store.id)}>
      <span class="truncate"><b>${store.name || common.unnamed}</b><br /><span class="small faint">${texts.counts(store.file_counts)}</span></span>
      <span class="wide-only"><et-status .status=${store.status}></et-status></span>
      <span class="number wide-only">${bytes(store.usage_bytes)}</span>
      <span class="small faint"><et-time .value=${store.last_active_at}></et-time></span>
    </a>`;
  }

  render() {
    const form = html`<form class="inline-form" @submit=${this.create}><input class="grow" name="name" aria-label=${texts.newName} placeholder=${texts.newName} maxlength="256" />
      <button type="submit" class="primary"><et-icon name="plus"></et-icon>${texts.new}</button></form>`;
    return html`${fileHead("stores", canWrite() ? form : nothing)}
      ${this.whenLoaded(() =>
        this.found.length
          ? html`<div class="card rows" role="list" aria-label=${texts.list}>${this.found.map((one) => html`<div role="listitem">${this.row(one)}</div>`)}</div>`
          : html`<et-empty icon="stores" heading=${texts.empty} text=${texts.emptyText}></et-empty>`,
      )}`;
  }
}

define("et-stores", Stores);
