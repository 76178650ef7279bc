// The sign-in: an API key is exchanged for a session.

import { define, Element, html, nothing } from "../app/element.js";
import { signIn } from "../app/session.js";
import { common, signIn as texts } from "../messages/common.js";

const ICON = new URL("../icon.svg", import.meta.url).pathname;

class SignIn extends Element {
  static properties = { isOver: { attribute: false }, failure: { attribute: false }, isBusy: { state: true } };

  async submit(event) {
    event.preventDefault();
    const field = this.querySelector("input");
    this.isBusy = true;
    try {
      await signIn({ api_key: field.value.trim() });
      field.value = "";
      this.failure = null;
      this.dispatchEvent(new CustomEvent("signed-in"));
    } catch (error) {
      this.failure = error;
      field.focus();
    } finally {
      this.isBusy = false;
    }
  }

  firstUpdated() {
    this.querySelector("input").focus();
  }

  render() {
    return html`<main class="sign-in">
      <form @submit=${this.submit}>
        <img src=${ICON} alt="" width="36" height="36" />
        <h1>${texts.heading}</h1>
        <p class="soft">${this.isOver ? texts.over : texts.text}</p>
        <label for="api-key">${texts.key}</label>
        <input id="api-key" type="password" autocomplete="off" spellcheck="false" required placeholder="et-…"
          aria-describedby="sign-in-error" />
        <p id="sign-in-error" class="field-error" role="alert">${this.failure?.message ?? nothing}</p>
        <button class="primary" type="submit" ?disabled=${this.isBusy}>${this.isBusy ? texts.busy : texts.submit}</button>
        <p class="tiny faint">${texts.hint}</p>
      </form>
      <p class="visually-hidden">${common.product}</p>
    </main>`;
  }
}

define("et-sign-in", SignIn);
