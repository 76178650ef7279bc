// An error in plain words, with the id of the request for the server's log.

import { define, Element, html, nothing } from "../app/element.js";
import { errors } from "../messages/errors.js";
import "./icon.js";
import "./id-chip.js";

class ErrorNotice extends Element {
  static properties = { error: { attribute: false } };

  render() {
    const { message, status, requestId } = this.error ?? {};
    return html`<div class="notice bad" role="alert">
      <et-icon name="alert"></et-icon>
      <div>
        <h3>${errors.title(status)}</h3>
        <p>${message}</p>
        ${requestId ? html`<p class="tiny">${errors.request} <et-id .value=${requestId}></et-id></p>` : nothing}
      </div>
      <button type="button" @click=${() => this.dispatchEvent(new CustomEvent("retry"))}>${errors.retry}</button>
    </div>`;
  }
}

define("et-error", ErrorNotice);
