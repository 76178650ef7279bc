// Code or JSON, coloured, with a button that copies it.

import { define, Element, html } from "../app/element.js";
import { notify } from "../app/element.js";
import { common } from "../messages/common.js";
import { highlight } from "./highlight.js";
import "./icon.js";

// Characters that are shown. The button copies all of them.
const MAX_SHOWN = 200_000;

class CodeView extends Element {
  static properties = { value: { attribute: false }, language: {}, label: {} };

  /** The text: JSON if `value` is no text. A text that is JSON itself is indented. */
  get text() {
    if (typeof this.value !== "string") return JSON.stringify(this.value ?? null, null, 2);
    if (this.language !== "json") return this.value;
    try {
      return JSON.stringify(JSON.parse(this.value), null, 2);
    } catch {
      return this.value;
    }
  }

  updated() {
    const code = this.querySelector("code");
    const text = this.text;
    if (this.rendered === text) return;
    this.rendered = text;
    code.textContent = text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}\n…` : text;
    highlight(code, this.language ?? "json");
  }

  async copy() {
    await navigator.clipboard.writeText(this.text);
    notify(common.copied);
  }

  render() {
    return html`<div class="code">
      <pre tabindex="0" role="region" aria-label=${this.label ?? common.code}><code></code></pre>
      <button type="button" class="quiet square" aria-label=${common.copy} @click=${this.copy}><et-icon name="copy"></et-icon></button>
    </div>`;
  }
}

define("et-code", CodeView);
