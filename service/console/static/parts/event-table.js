// Events in a virtual list: version, time, type, and the event in one line.

import { define, Element, html } from "../app/element.js";
import { clockTime, duration, exactTime } from "../app/format.js";
import { run as texts } from "../messages/run.js";
import "./virtual-list.js";

class EventTable extends Element {
  static properties = { entries: { attribute: false }, chosen: { attribute: false } };

  row(entry) {
    return html`<button type="button" class="event-row ${entry.is_failure ? "failure" : ""}" aria-pressed=${entry.version === this.chosen}
      @click=${() => this.dispatchEvent(new CustomEvent("choose", { detail: entry.version }))}>
      <span class="number faint">${entry.version}</span>
      <span class="number small" title=${exactTime(entry.at)}>${clockTime(entry.at)}</span>
      <span class="number tiny faint">${entry.gap_s ? texts.gap(duration(entry.gap_s)) : ""}</span>
      <b class="mono truncate">${entry.type}</b>
      <span class="small soft truncate">${entry.summary || entry.actor}</span>
    </button>`;
  }

  render() {
    return html`<et-virtual-list class="events" label=${texts.events} .items=${this.entries} .row=${36} .render_item=${(entry) => this.row(entry)} .mark=${this.chosen}></et-virtual-list>`;
  }
}

define("et-event-table", EventTable);
