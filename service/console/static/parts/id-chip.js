// An id that can be copied. With `href` it is a link as well.

import { define, Element, html, nothing } from "../app/element.js";
import { shortId } from "../app/format.js";
import { common } from "../messages/common.js";
import "./icon.js";

const SHOWN_MS = 1200;

class IdChip extends Element {
  static properties = { value: {}, href: {}, whole: { type: Boolean }, isCopied: { state: true } };

  async copy(event) {
    event.preventDefault();
    event.stopPropagation();
    await navigator.clipboard.writeText(this.value);
    this.isCopied = true;
    setTimeout(() => {
      this.isCopied = false;
    }, SHOWN_MS);
  }

  render() {
    if (!this.value) return nothing;
    const text = this.whole ? this.value : shortId(this.value);
    const label = this.isCopied ? common.copied : common.copyId(this.value);
    return html`<span class="id" title=${this.value}
      >${this.href ? html`<a class="mono" href=${this.href}>${text}</a>` : html`<span class="mono">${text}</span>`}<button
        class="quiet" type="button" aria-label=${label} @click=${this.copy}
      ><et-icon name=${this.isCopied ? "check" : "copy"}></et-icon></button
    ></span>`;
  }
}

define("et-id", IdChip);
