// The form of a new key: its name, its scope and its limits.

import { define, Element, html } from "../app/element.js";
import { keys as texts } from "../messages/manage.js";

const AUDIT_SCOPES = ["audit", "audit:content"];

class KeyForm extends Element {
  static properties = { isInstallation: { attribute: false } };

  submit(event) {
    event.preventDefault();
    const { elements } = event.target;
    const limits = Object.keys(texts.limits).map((name) => [name, elements[name].value ? Number(elements[name].value) : null]);
    const detail = { name: elements.name.value.trim(), scope: elements.scope.value, ...Object.fromEntries(limits.filter(([, value]) => value !== null)) };
    this.dispatchEvent(new CustomEvent("create-key", { detail }));
    event.target.reset();
  }

  render() {
    const scopes = Object.entries(texts.scopes).filter(([name]) => !this.isInstallation || AUDIT_SCOPES.includes(name));
    return html`<form class="inline-form" @submit=${this.submit}>
      <label class="grow"><span class="tiny faint">${texts.name}</span><input name="name" required maxlength="256" placeholder=${texts.nameHint} /></label>
      <label class="grow"><span class="tiny faint">${texts.scope}</span><select name="scope">${scopes.map(([name, text]) => html`<option value=${name}>${text}</option>`)}</select></label>
      ${Object.entries(texts.limits).map(([name, text]) => html`<label><span class="tiny faint">${text}</span><input name=${name} type="number" min="1" placeholder=${texts.noLimit} /></label>`)}
      <button type="submit" class="primary">${texts.createKey}</button>
    </form>`;
  }
}

define("et-key-form", KeyForm);
