// What to do first, if there is nothing to show.

import { define, Element, html, nothing } from "../app/element.js";
import "./icon.js";

class EmptyState extends Element {
  static properties = { icon: {}, heading: {}, text: {}, href: {}, action: {} };

  render() {
    return html`<div class="empty">
      <et-icon name=${this.icon ?? "threads"}></et-icon>
      <h2>${this.heading}</h2>
      <p>${this.text}</p>
      ${this.href ? html`<a class="button primary" href=${this.href}>${this.action}</a>` : nothing}
    </div>`;
  }
}

define("et-empty", EmptyState);
