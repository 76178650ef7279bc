// A secret that is shown once, until the person says that it is copied.

import { define, Element, html } from "../app/element.js";
import { common } from "../messages/common.js";

class SecretNotice extends Element {
  static properties = { secret: { attribute: false }, text: {}, action: {}, isCopied: { state: true } };

  async copy() {
    await navigator.clipboard.writeText(this.secret);
    this.isCopied = true;
  }

  render() {
    return html`<div class="secret" role="status">
      <p>${this.text}</p><code>${this.secret}</code>
      <div class="inline-form"><button type="button" class="primary" @click=${this.copy}><et-icon name=${this.isCopied ? "check" : "copy"}></et-icon>${this.isCopied ? common.copied : common.copy}</button>
        <button type="button" @click=${() => this.dispatchEvent(new CustomEvent("dismiss"))}>${this.action}</button></div>
    </div>`;
  }
}

define("et-secret", SecretNotice);
