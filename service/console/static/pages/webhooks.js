// The webhook endpoints of the project.

import { list, post } from "../app/api.js";
import { define, html, nothing, View } from "../app/element.js";
import { canWrite } from "../app/session.js";
import { webhooks as texts } from "../messages/manage.js";
import "../parts/secret-notice.js";
import "../parts/webhook-endpoint.js";

const PATH = "/v1/webhook_endpoints";

class Webhooks extends View {
  static properties = { found: { state: true }, secret: { state: true } };

  async load() {
    this.found = await list(PATH);
  }

  async refresh() {
    await this.act(async () => {
      this.found = await list(PATH);
    });
  }

  async create(event) {
    event.preventDefault();
    const { url, events, description } = event.target.elements;
    const names = events.value.split(/[\s,]+/).filter((name) => name && name !== "all");
    const body = { url: url.value.trim(), ...(names.length ? { events: names } : {}), ...(description.value ? { description: description.value } : {}) };
    await this.act(async () => {
      this.secret = (await post(PATH, body)).secret;
      event.target.reset();
      this.found = await list(PATH);
    });
  }

  form() {
    return html`<section class="card block"><form class="inline-form" @submit=${this.create}>
      <label class="grow"><span class="tiny faint">${texts.url}</span><input name="url" type="url" required placeholder=${texts.urlHint} /></label>
      <label class="grow"><span class="tiny faint">${texts.events}</span><input name="events" placeholder=${texts.eventsHint} spellcheck="false" /></label>
      <label class="grow"><span class="tiny faint">${texts.description}</span><input name="description" maxlength="512" /></label>
      <button type="submit" class="primary">${texts.create}</button>
    </form></section>`;
  }

  render() {
    return html`<div class="head"><div class="title"><h1>${texts.title}</h1><p>${texts.text}</p></div></div>
      ${canWrite() ? this.form() : nothing}
      ${this.secret ? html`<et-secret .secret=${this.secret} text=${texts.shownOnce} action=${texts.dismiss} @dismiss=${() => {
        this.secret = null;
      }}></et-secret>` : nothing}
      ${this.whenLoaded(() =>
        this.found.length
          ? html`<div class="changes">${this.found.map((one) => html`<et-webhook-endpoint .endpoint=${one} @changed=${this.refresh} @secret=${(event) => {
              this.secret = event.detail;
            }}></et-webhook-endpoint>`)}</div>`
          : html`<et-empty icon="webhooks" heading=${texts.empty} text=${texts.emptyText}></et-empty>`,
      )}`;
  }
}

define("et-webhooks", Webhooks);
