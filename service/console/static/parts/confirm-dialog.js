// A question before an act that cannot be undone: `await ask({heading, text, action})` is true if the person is sure.

import { define, Element, html } from "../app/element.js";
import { common } from "../messages/common.js";

class ConfirmDialog extends Element {
  static properties = { question: { attribute: false } };

  answer(isSure) {
    this.querySelector("dialog").close();
    this.resolve(isSure);
    this.remove();
  }

  firstUpdated() {
    this.querySelector("dialog").showModal();
  }

  render() {
    const { heading, text, action, isDanger } = this.question;
    return html`<dialog class="dialog" aria-labelledby="question" @cancel=${() => this.answer(false)}>
      <h2 id="question">${heading}</h2>
      <p class="soft">${text}</p>
      <div class="actions">
        <button type="button" @click=${() => this.answer(false)}>${common.cancel}</button>
        <button type="button" class="primary ${isDanger ? "destroy" : ""}" @click=${() => this.answer(true)}>${action}</button>
      </div>
    </dialog>`;
  }
}

define("et-confirm", ConfirmDialog);

export function ask(question) {
  return new Promise((resolve) => {
    const dialog = document.createElement("et-confirm");
    Object.assign(dialog, { question, resolve });
    document.body.append(dialog);
  });
}
