// Short notices in the corner, which leave by themselves.

import { define, Element, html, nothing } from "../app/element.js";
import "./id-chip.js";

const SHOWN_MS = 6000;
const MOST = 4;

class Notices extends Element {
  static properties = { notices: { state: true } };

  constructor() {
    super();
    this.notices = [];
    this.add = ({ detail }) => {
      this.notices = [...this.notices, detail].slice(-MOST);
      setTimeout(() => {
        this.notices = this.notices.filter((notice) => notice !== detail);
      }, SHOWN_MS);
    };
  }

  connectedCallback() {
    super.connectedCallback();
    addEventListener("et-notice", this.add);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    removeEventListener("et-notice", this.add);
  }

  render() {
    return html`<div class="toasts" role="status" aria-live="polite">
      ${this.notices.map(
        ({ text, requestId }) =>
          html`<div class="toast">${text} ${requestId ? html`<et-id .value=${requestId}></et-id>` : nothing}</div>`,
      )}
    </div>`;
  }
}

define("et-notices", Notices);
