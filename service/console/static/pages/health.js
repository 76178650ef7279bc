// The health of the process that answers, part by part, with what to do.

import { get } from "../app/api.js";
import { define, html, nothing, View } from "../app/element.js";
import { health as texts } from "../messages/manage.js";

const REFRESH_MS = 5000;
const TONES = { ok: "good", degraded: "warn", unavailable: "bad" };

class Health extends View {
  static properties = { found: { state: true }, at: { state: true } };

  connectedCallback() {
    super.connectedCallback();
    this.timer = setInterval(() => this.refresh(), REFRESH_MS);
  }

  /** Reads the health again. A server that does not answer is shown as an error, and asked again. */
  async refresh() {
    if (document.hidden || this.isBusy || this.isLoading) return;
    this.isBusy = true;
    try {
      await this.load();
      this.error = null;
    } catch (error) {
      this.error = error;
    }
    this.isBusy = false;
  }

  release() {
    clearInterval(this.timer);
  }

  async load() {
    this.found = await get("/v1/organization/health");
    this.at = Date.now() / 1000;
  }

  badge(status) {
    return html`<span class="badge ${TONES[status]}"><i></i>${texts.states[status] ?? status}</span>`;
  }

  tile({ name, status, problem, remedy }) {
    return html`<li class="card tile"><header><h2>${name.replaceAll("_", " ")}</h2>${this.badge(status)}</header>
      ${problem ? html`<p class="field-error">${problem}</p><p class="small soft">${remedy}</p>` : nothing}</li>`;
  }

  render() {
    return html`<div class="head"><div class="title"><h1>${texts.title} ${this.found ? this.badge(this.found.status) : nothing}</h1><p>${texts.text}</p></div>
        <div class="actions small faint">${texts.checked} <et-time .value=${this.at}></et-time></div></div>
      ${this.whenLoaded(
        () => html`${this.found.status === "ok" ? html`<p class="soft small">${texts.allOk}</p>` : nothing}
          <ul class="tiles">${[...this.found.parts].sort((a, b) => (a.status === "ok") - (b.status === "ok")).map((part) => this.tile(part))}</ul>`,
      )}`;
  }
}

define("et-health", Health);
