// A time in the reader's own zone, relative if it is near. The exact time is its title.

import { define, Element, html } from "../app/element.js";
import { exactTime, shortTime, toDate } from "../app/format.js";

const REFRESH_MS = 20_000;

class TimeStamp extends Element {
  static properties = { value: {} };

  connectedCallback() {
    super.connectedCallback();
    this.timer = setInterval(() => this.requestUpdate(), REFRESH_MS);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearInterval(this.timer);
  }

  render() {
    const at = toDate(this.value);
    if (!at) return html`<span class="faint">–</span>`;
    return html`<time datetime=${at.toISOString()} title=${exactTime(this.value)}>${shortTime(this.value)}</time>`;
  }
}

define("et-time", TimeStamp);
