// A verification of the installation: its start, its progress, and what it found.

import { send } from "../app/api.js";
import { define, Element, html, nothing } from "../app/element.js";
import { count } from "../app/format.js";
import { read } from "../app/live.js";
import { href } from "../app/router.js";
import { canAdminister } from "../app/session.js";
import { verification as texts } from "../messages/audit.js";
import "./fact-list.js";

const PATH = "/v1/audit/verification";
const NAMES = ["events", "streams", "log_size", "waiting", "checkpoints", "erased"];

class VerificationPanel extends Element {
  static properties = { found: { state: true }, isBusy: { state: true }, error: { state: true }, isStopped: { state: true } };

  disconnectedCallback() {
    super.disconnectedCallback();
    this.stopping?.abort();
  }

  async start() {
    this.stopping = new AbortController();
    Object.assign(this, { found: null, error: null, isBusy: true, isStopped: false });
    try {
      const response = await send("GET", PATH, { headers: { Accept: "text/event-stream" }, signal: this.stopping.signal });
      await read(response.body, ({ data }) => {
        this.found = data;
      });
    } catch (error) {
      if (error.name === "AbortError") this.isStopped = true;
      else this.error = error;
    }
    this.isBusy = false;
  }

  outcome() {
    if (this.error) return html`<et-error .error=${this.error} @retry=${this.start}></et-error>`;
    if (this.isStopped) return html`<p class="soft">${texts.stopped}</p>`;
    if (!this.found || this.isBusy) return nothing;
    const { status, problem, fault_count: faults } = this.found;
    if (status === "in_progress") return html`<p class="outcome bad">${texts.broken}</p>`;
    return html`${status === "failed" ? html`<p class="outcome bad">${texts.broken} ${problem}</p>` : nothing}
      ${faults ? html`<p class="outcome bad">${texts.faults(faults)}</p>${this.faults()}` : nothing}
      ${status === "completed" && !faults ? html`<p class="outcome good"><et-icon name="check"></et-icon>${texts.clean}</p>` : nothing}
      <et-facts .facts=${NAMES.map((name) => [texts.facts[name], count(this.found[name])])}></et-facts>`;
  }

  faults() {
    return html`<table><thead><tr>${texts.columns.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead><tbody>
      ${this.found.faults.map(
        (fault) => html`<tr>
          <td class="mono tiny">${fault.stream_id ? html`<a href=${href("audit", { stream: fault.stream_id })}>${fault.stream_id}</a>` : "–"}</td>
          <td class="number">${fault.version ?? "–"}</td><td>${fault.text}</td></tr>`,
      )}
    </tbody></table>`;
  }

  progress() {
    const { events = 0, total_events: total = 0 } = this.found ?? {};
    return html`<div class="inline-row" role="status"><progress max=${total || 1} .value=${events} aria-label=${texts.busy}></progress>
      <span class="small faint">${texts.progress(count(events), count(total))}</span>
      <button type="button" @click=${() => this.stopping.abort()}>${texts.stop}</button></div>`;
  }

  render() {
    return html`<section class="card block"><h2>${texts.heading}</h2><p class="soft">${texts.text}</p>
      ${
        !canAdminister()
          ? html`<p class="faint">${texts.notAllowed}</p>`
          : this.isBusy
            ? this.progress()
            : html`<p><button type="button" class="primary" @click=${this.start}><et-icon name="audit"></et-icon>${texts.start}</button></p>`
      }
      <div aria-live="polite">${this.outcome()}</div>
      <p class="tiny faint">${texts.hint}</p></section>`;
  }
}

define("et-verification", VerificationPanel);
