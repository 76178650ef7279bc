// The filters of the list of threads. It reports changes as pairs of the URL's query.

import { list } from "../app/api.js";
import { define, Element, html, nothing } from "../app/element.js";
import { statuses } from "../messages/common.js";
import { threads as texts } from "../messages/threads.js";

const WAIT_MS = 300;
const NAMES = ["query", "assistant", "status", "metadata", "since", "until"];
const MOST_ASSISTANTS = 200;
const STATUSES = ["queued", "in_progress", "requires_action", "cancelling", "completed", "incomplete", "failed", "cancelled", "expired"];

class ThreadFilters extends Element {
  static properties = { query: { attribute: false }, assistants: { state: true } };

  constructor() {
    super();
    this.assistants = [];
  }

  async connectedCallback() {
    super.connectedCallback();
    this.assistants = await list("/v1/assistants", { most: MOST_ASSISTANTS }).catch(() => []);
  }

  /** Reports what a person types when they pause. */
  type(name, value) {
    clearTimeout(this.timer);
    this.typed = { ...this.typed, [name]: value };
    this.timer = setTimeout(() => this.report({}), WAIT_MS);
  }

  report(changes) {
    clearTimeout(this.timer);
    const detail = { ...this.typed, ...changes };
    this.typed = {};
    this.dispatchEvent(new CustomEvent("change-filters", { detail }));
  }

  field(name, type, label, placeholder = "") {
    return html`<label class="filter"><span class="tiny faint">${label}</span>
      <input type=${type} placeholder=${placeholder} maxlength="256" .value=${this.query[name] ?? ""}
        @input=${(event) => this.type(name, event.target.value)} /></label>`;
  }

  choice(name, label, options) {
    const chosen = this.query[name] ?? "";
    const known = !chosen || options.some(([value]) => value === chosen) ? options : [...options, [chosen, chosen]];
    return html`<label class="filter"><span class="tiny faint">${label}</span>
      <select @change=${(event) => this.report({ [name]: event.target.value })}>
        <option value="" ?selected=${!chosen}>${texts.any}</option>
        ${known.map(([value, text]) => html`<option value=${value} ?selected=${value === chosen}>${text}</option>`)}
      </select></label>`;
  }

  render() {
    const isFiltered = NAMES.some((name) => this.query[name]);
    return html`<search class="filters">
      ${this.field("query", "search", texts.words, texts.wordsHint)}
      ${this.choice("assistant", texts.assistant, this.assistants.map((one) => [one.id, one.name || one.id]))}
      ${this.choice("status", texts.status, STATUSES.map((name) => [name, statuses[name]]))}
      ${this.field("metadata", "text", texts.metadata, texts.metadataHint)}
      ${this.field("since", "date", texts.since)}
      ${this.field("until", "date", texts.until)}
      ${
        isFiltered
          ? html`<button type="button" class="quiet" @click=${() => this.report(Object.fromEntries(NAMES.map((name) => [name, ""])))}>${texts.clear}</button>`
          : nothing
      }
    </search>`;
  }
}

define("et-thread-filters", ThreadFilters);
