// One event of the log: its envelope, its content for those who may read it, and its proof to download.

import { get, send, withQuery } from "../app/api.js";
import { define, Element, html, nothing, notify } from "../app/element.js";
import { exactTime } from "../app/format.js";
import { href } from "../app/router.js";
import { canReadContents } from "../app/session.js";
import { saveFile } from "../app/thread-download.js";
import { audit as texts } from "../messages/audit.js";
import { common } from "../messages/common.js";
import "./code-view.js";
import "./fact-list.js";

class AuditEvent extends Element {
  static properties = { event: { attribute: false }, content: { state: true } };

  async updated(changes) {
    if (!changes.has("event")) return;
    this.content = undefined;
    if (!canReadContents()) return;
    const { index, stream_id: stream } = this.event;
    const query = { stream_id: stream, after: index - 1, limit: 1, include: "content" };
    const page = await get(withQuery("/v1/audit/events", query)).catch(() => ({ data: [] }));
    if (this.event.index === index) this.content = page.data[0]?.content;
  }

  async saveProof(hasContent) {
    const { stream_id: stream, version } = this.event;
    try {
      const path = withQuery(`/v1/audit/events/${encodeURIComponent(stream)}/${version}/proof`, { include: hasContent ? "content" : "" });
      saveFile(`${stream}-${version}.tlog-proof`, await (await send("GET", path)).text(), "text/plain");
    } catch (error) {
      notify(error.message, error.requestId);
    }
  }

  facts() {
    const { client } = this.event;
    const facts = Object.entries(texts.facts)
      .filter(([name]) => this.event[name] !== null)
      .map(([name, label]) => [label, name === "at" ? exactTime(this.event.at) : html`<span class="mono tiny">${this.event[name]}</span>`]);
    return client?.address ? [...facts, [texts.address, client.address]] : facts;
  }

  render() {
    const { type, stream_id: stream } = this.event;
    return html`<aside class="card" aria-label=${texts.event}>
      <header class="composer-foot"><h2>${type}</h2><button type="button" class="quiet square" aria-label=${common.close} @click=${() => this.dispatchEvent(new CustomEvent("close-event"))}><et-icon name="close"></et-icon></button></header>
      <et-id .value=${stream} whole></et-id>
      ${stream.startsWith("thread_") ? html`<a href=${href("threads", stream, "replay", { at: this.event.version })}>${texts.openThread}</a>` : nothing}
      ${type.endsWith(".deleted") ? html`<a href=${href("audit", { view: "erasure", stream })}>${texts.openErasure}</a>` : nothing}
      <div class="inline-form">
        <button type="button" @click=${() => this.saveProof(false)}><et-icon name="download"></et-icon>${texts.proof}</button>
        ${canReadContents() ? html`<button type="button" @click=${() => this.saveProof(true)}><et-icon name="download"></et-icon>${texts.proofWithContent}</button>` : nothing}
      </div>
      <p class="tiny faint">${texts.proofHint}</p>
      <et-facts .facts=${this.facts()}></et-facts>
      ${this.content === undefined ? nothing : html`<h3>${texts.content}</h3><et-code .value=${this.content}></et-code>`}
    </aside>`;
  }
}

define("et-audit-event", AuditEvent);
