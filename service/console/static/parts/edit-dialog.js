// Asks for a changed text: `await edit({heading, text, value, action})` is the text, or null if the person cancels.

import { define, Element, html } from "../app/element.js";
import { common } from "../messages/common.js";

class EditDialog extends Element {
  static properties = { question: { attribute: false } };

  answer(event, text) {
    event.preventDefault();
    this.querySelector("dialog").close();
    this.resolve(text);
    this.remove();
  }

  firstUpdated() {
    this.querySelector("dialog").showModal();
    this.querySelector("textarea").focus();
  }

  render() {
    const { heading, text, value, action } = this.question;
    return html`<dialog class="dialog wide" aria-labelledby="edit-heading" @cancel=${(event) => this.answer(event, null)}>
      <form @submit=${(event) => this.answer(event, this.querySelector("textarea").value)}>
        <h2 id="edit-heading">${heading}</h2>
        <p class="soft small">${text}</p>
        <textarea rows="8" aria-labelledby="edit-heading" .value=${value}></textarea>
        <div class="actions">
          <button type="button" @click=${(event) => this.answer(event, null)}>${common.cancel}</button>
          <button type="submit" class="primary">${action}</button>
        </div>
      </form>
    </dialog>`;
  }
}

define("et-edit", EditDialog);

export function edit(question) {
  return new Promise((resolve) => {
    const dialog = document.createElement("et-edit");
    Object.assign(dialog, { question, resolve });
    document.body.append(dialog);
  });
}
