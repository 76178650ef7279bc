// The filters of the list of threads. It reports changes as pairs of the URL's query.

import { define, Element, html, nothing } from "../app/element.js";
import { threads as texts } from "../messages/threads.js";

const WAIT_MS = 300;

class ThreadFilters extends Element {
  static properties = { query: { attribute: false } };

  change(name, value) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.dispatchEvent(new CustomEvent("change-filters", { detail: { [name]: value } }));
    }, WAIT_MS);
  }

  field(name, type, label, placeholder = "") {
    return html`<label class="filter"><span class="tiny faint">${label}</span>
      <input type=${type} placeholder=${placeholder} .value=${this.query[name] ?? ""}
        @input=${(event) => this.change(name, event.target.value)} /></label>`;
  }

  render() {
    const isFiltered = ["metadata", "since", "until"].some((name) => this.query[name]);
    return html`<search class="filters">
      ${this.field("metadata", "text", texts.metadata, texts.metadataHint)}
      ${this.field("since", "date", texts.since)}
      ${this.field("until", "date", texts.until)}
      ${
        isFiltered
          ? html`<button type="button" class="quiet" @click=${() =>
              this.dispatchEvent(new CustomEvent("change-filters", { detail: { metadata: "", since: "", until: "" } }))}>${texts.clear}</button>`
          : nothing
      }
    </search>`;
  }
}

define("et-thread-filters", ThreadFilters);
