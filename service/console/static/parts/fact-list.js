// Pairs of a name and a value.

import { define, Element, html } from "../app/element.js";

class FactList extends Element {
  static properties = { facts: { attribute: false } };

  render() {
    return html`<dl class="fact-list">
      ${this.facts.map(([name, value]) => html`<div><dt class="truncate">${name}</dt><dd>${value}</dd></div>`)}
    </dl>`;
  }
}

define("et-facts", FactList);
