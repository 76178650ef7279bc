// A text of a model or a person as Markdown. The text is untrusted: nothing of it runs, and it loads nothing.

import { define, Element, html, nothing } from "../app/element.js";
import { common } from "../messages/common.js";
import { renderMarkdown } from "./markdown.js";

// Characters that are rendered at once; the reader asks for more.
export const PIECE = 20_000;

class RichText extends Element {
  static properties = { text: { attribute: false }, isStreaming: { attribute: false }, shown: { state: true } };

  constructor() {
    super();
    this.text = "";
    this.shown = PIECE;
  }

  updated() {
    const target = this.querySelector(".prose");
    const visible = this.text.slice(0, this.shown);
    if (target && this.rendered !== visible) {
      this.rendered = visible;
      target.replaceChildren(renderMarkdown(visible));
    }
  }

  render() {
    const rest = this.text.length - this.shown;
    return html`<div class="prose" ?data-streaming=${this.isStreaming}></div>
      ${
        rest > 0
          ? html`<button type="button" class="more" @click=${() => {
              this.shown += PIECE;
            }}>${common.showMore(rest)}</button>`
          : nothing
      }`;
  }
}

define("et-text", RichText);
