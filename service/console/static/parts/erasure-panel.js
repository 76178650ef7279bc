// The erasure of an object: its state, and the proof to keep.

import { get } from "../app/api.js";
import { define, Element, html, nothing } from "../app/element.js";
import { count } from "../app/format.js";
import { setQuery } from "../app/router.js";
import { saveFile } from "../app/thread-download.js";
import { erasure as texts } from "../messages/audit.js";
import "./fact-list.js";

const MOST_ROWS = 200;

class ErasurePanel extends Element {
  static properties = { stream: {}, found: { state: true }, error: { state: true } };

  willUpdate(changes) {
    if (changes.has("stream") && this.stream) this.look();
  }

  async look() {
    const { stream } = this;
    Object.assign(this, { found: undefined, error: null });
    try {
      const found = await get(`/v1/audit/erasures/${encodeURIComponent(stream)}`);
      if (stream === this.stream) this.found = found;
    } catch (error) {
      if (stream === this.stream) this.error = error;
    }
  }

  submit(event) {
    event.preventDefault();
    const stream = event.target.querySelector("input").value.trim();
    if (stream === this.stream) this.look();
    else setQuery({ stream });
  }

  save() {
    saveFile(`${this.found.stream_id}-erasure.json`, JSON.stringify(this.found, null, 2), "application/json");
  }

  result() {
    if (this.error) return html`<et-error .error=${this.error} @retry=${this.look}></et-error>`;
    if (!this.found) return this.stream ? html`<et-loading></et-loading>` : nothing;
    const { is_erased: isErased, problem, events, destroyed_keys: destroyed, forks, stored_key: key } = this.found;
    const facts = [
      [texts.events, count(events.length)],
      [texts.key, key ? html`<span class="mono tiny">${key}</span>` : texts.noKey],
      ...destroyed.map((each) => [texts.destroyed, html`<et-time .value=${each.at}></et-time> <span class="tiny faint">${each.actor}</span>`]),
      ...(forks.length ? [[texts.forks, forks.map((fork) => html`<div class="tiny"><span class="mono">${fork.thread_id}</span> ${fork.exists ? texts.forkExists : texts.forkGone}</div>`)]] : []),
    ];
    return html`<p class="outcome ${isErased ? "good" : "calm"}">
        <et-icon name=${isErased ? "check" : "alert"}></et-icon>${isErased ? texts.erased : texts.notErased(problem)}</p>
      <et-facts .facts=${facts}></et-facts>
      <p><button type="button" @click=${this.save}><et-icon name="download"></et-icon>${texts.save}</button></p>
      <p class="tiny faint">${texts.saveHint}</p>
      <table><thead><tr>${texts.columns.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead><tbody>
        ${events.slice(-MOST_ROWS).map(
          (event) => html`<tr><td class="number">${event.version}</td><td>${event.type}</td><td class="tiny">${event.actor}</td>
            <td class="small"><et-time .value=${event.at}></et-time></td><td>${event.is_readable ? texts.readable : texts.sealed}</td></tr>`,
        )}
      </tbody></table>`;
  }

  render() {
    return html`<section class="card block"><h2>${texts.heading}</h2><p class="soft">${texts.text}</p>
      <form class="inline-row" @submit=${this.submit}>
        <label class="filter grow"><span class="tiny faint">${texts.label}</span>
          <input type="text" class="mono" required placeholder=${texts.hint} .value=${this.stream ?? ""} /></label>
        <button type="submit">${texts.look}</button>
      </form>
      <div aria-live="polite">${this.result()}</div></section>`;
  }
}

define("et-erasure", ErasurePanel);
