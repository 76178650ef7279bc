// The settings of the next run: assistant, model, temperature, additional instructions. It reports each change.

import { define, Element, html } from "../app/element.js";
import { href } from "../app/router.js";
import { common } from "../messages/common.js";
import { playground as texts } from "../messages/playground.js";

class RunSettings extends Element {
  static properties = { assistants: { attribute: false }, models: { attribute: false }, settings: { attribute: false } };

  change(name, value) {
    this.dispatchEvent(new CustomEvent("change-settings", { detail: { [name]: value } }));
  }

  render() {
    const { settings } = this;
    return html`<section class="run-settings" aria-label=${texts.settings}>
      <div><label for="assistant">${texts.assistant}</label>
        <select id="assistant" @change=${(event) => this.change("assistant", event.target.value)}>
          ${this.assistants.map((one) => html`<option value=${one.id} ?selected=${one.id === settings.assistant}>${one.name ?? common.unnamed} · ${one.model}</option>`)}
        </select>
        ${settings.assistant ? html`<a class="tiny" href=${href("assistants", settings.assistant)}>${common.open}</a>` : ""}</div>
      <div><label for="model">${texts.model}</label>
        <input id="model" list="models" type="text" placeholder=${texts.modelHint} .value=${settings.model ?? ""} @change=${(event) => this.change("model", event.target.value.trim())} />
        <datalist id="models">${this.models.map((name) => html`<option value=${name}></option>`)}</datalist></div>
      <div><label for="temperature">${texts.temperature}</label>
        <input id="temperature" type="number" min="0" max="2" step="0.1" placeholder=${texts.modelHint} .value=${settings.temperature ?? ""}
          @change=${(event) => this.change("temperature", event.target.value)} /></div>
      <div><label for="extra">${texts.extra}</label>
        <textarea id="extra" rows="4" placeholder=${texts.extraHint} .value=${settings.extra ?? ""} @change=${(event) => this.change("extra", event.target.value)}></textarea></div>
    </section>`;
  }
}

define("et-run-settings", RunSettings);
