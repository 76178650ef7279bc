// Pairs of metadata as tags on one line.

import { define, Element, html } from "../app/element.js";

const MOST = 3;

class MetadataTags extends Element {
  static properties = { pairs: { attribute: false } };

  render() {
    const pairs = Object.entries(this.pairs ?? {});
    const rest = pairs.length - MOST;
    return html`<span class="tags">
      ${pairs.slice(0, MOST).map(([name, value]) => html`<span class="tag truncate" title="${name}=${value}"><span class="faint">${name}</span> ${value}</span>`)}
      ${rest > 0 ? html`<span class="tag">+${rest}</span>` : ""}
    </span>`;
  }
}

define("et-metadata", MetadataTags);
