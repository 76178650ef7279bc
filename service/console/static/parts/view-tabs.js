// The views of a page as tabs; the chosen one is in the URL.

import { define, Element, html } from "../app/element.js";

class ViewTabs extends Element {
  static properties = { views: { attribute: false }, current: {}, label: {} };

  choose(name) {
    this.dispatchEvent(new CustomEvent("view", { detail: name }));
  }

  render() {
    return html`<div class="tabs" role="group" aria-label=${this.label}>
      ${Object.entries(this.views).map(
        ([name, text]) => html`<button type="button" class="tab" aria-pressed=${name === this.current} @click=${() => this.choose(name)}>${text}</button>`,
      )}
    </div>`;
  }
}

define("et-view-tabs", ViewTabs);
