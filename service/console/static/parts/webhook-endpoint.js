// An endpoint: its state, its acts, and the messages that wait for it.

import { get, post, remove, withQuery } from "../app/api.js";
import { define, Element, html, nothing, notify } from "../app/element.js";
import { href } from "../app/router.js";
import { canWrite } from "../app/session.js";
import { common } from "../messages/common.js";
import { webhooks as texts } from "../messages/manage.js";
import { ask } from "./confirm-dialog.js";
import "./fact-list.js";

const MOST_DELIVERIES = 20;

class WebhookEndpoint extends Element {
  static properties = { endpoint: { attribute: false }, deliveries: { state: true }, result: { state: true } };

  get path() {
    return `/v1/webhook_endpoints/${encodeURIComponent(this.endpoint.id)}`;
  }

  /** Carries out an act, and lets the page read the endpoints again. */
  async act(work) {
    try {
      await work();
      this.dispatchEvent(new CustomEvent("changed"));
    } catch (error) {
      notify(error.message, error.requestId);
    }
  }

  test() {
    return this.act(async () => {
      this.result = await post(`${this.path}/test`, {});
    });
  }

  async rotate() {
    if (!(await ask({ heading: texts.rotateHeading, text: texts.rotateText, action: texts.rotate }))) return;
    await this.act(async () => {
      const { secret } = await post(`${this.path}/rotate_secret`, {});
      this.dispatchEvent(new CustomEvent("secret", { detail: secret }));
    });
  }

  async delete() {
    if (!(await ask({ heading: texts.deleteHeading, text: texts.deleteText, action: common.delete, isDanger: true }))) return;
    await this.act(() => remove(this.path));
  }

  async readDeliveries(event) {
    if (!event.target.open) return;
    try {
      this.deliveries = await get(withQuery(`${this.path}/deliveries`, { limit: MOST_DELIVERIES }));
    } catch (error) {
      this.deliveries = undefined;
      notify(error.message, error.requestId);
    }
  }

  retry() {
    return this.act(async () => {
      const { retried } = await post(`${this.path}/deliveries/retry`, {});
      notify(texts.retried(retried));
    });
  }

  waiting() {
    const { columns } = texts;
    const found = this.deliveries?.data ?? [];
    const empty = this.deliveries ? html`<p class="faint small">${texts.noDeliveries}</p>` : nothing;
    return html`<details @toggle=${this.readDeliveries}><summary class="small">${texts.deliveries}</summary>
      ${
        found.length
          ? html`<table class="block"><thead><tr><th>${columns.type}</th><th>${columns.status}</th><th class="right">${columns.attempts}</th><th class="right">${columns.next}</th></tr></thead>
              <tbody>${found.map((one) => html`<tr><td><a href=${href("threads", one.thread_id)}>${one.type}</a></td><td>${texts.states[one.status] ?? one.status}</td><td class="right">${one.attempts}</td><td class="right"><et-time .value=${one.next_attempt_at}></et-time></td></tr>`)}</tbody></table>
              ${canWrite() ? html`<button type="button" @click=${this.retry}>${texts.retry}</button>` : nothing}`
          : empty
      }</details>`;
  }

  acts() {
    const { status } = this.endpoint;
    const next = status === "enabled" ? "disabled" : "enabled";
    return html`<div class="inline-form">
      <button type="button" @click=${this.test}>${texts.test}</button>
      <button type="button" @click=${() => this.act(() => post(this.path, { status: next }))}>${next === "enabled" ? texts.enable : texts.disable}</button>
      <button type="button" @click=${this.rotate}>${texts.rotate}</button>
      <button type="button" class="danger" @click=${this.delete}>${common.delete}</button>
    </div>
    ${this.result ? html`<p class="small" role="status">${texts.tested(this.result)}</p>` : nothing}`;
  }

  render() {
    const { id, url, description, events, status, disabled_reason: reason, last_delivered_at: delivered, failing_since: failing, last_error: error } = this.endpoint;
    const facts = [
      [texts.events, events?.length ? events.join(", ") : texts.all],
      [texts.delivered, delivered ? html`<et-time .value=${delivered}></et-time>` : texts.never],
      ...(failing ? [[texts.failing, html`<et-time .value=${failing}></et-time> · <span class="field-error">${error}</span>`]] : []),
    ];
    return html`<article class="card tile">
      <header><h2 class="truncate">${url}</h2><et-status .status=${status}></et-status></header>
      <et-id .value=${id}></et-id>
      ${description ? html`<p class="soft small">${description}</p>` : nothing}
      ${reason ? html`<p class="field-error">${reason}</p>` : nothing}
      <et-facts .facts=${facts}></et-facts>
      ${canWrite() ? this.acts() : nothing}
      ${this.waiting()}
    </article>`;
  }
}

define("et-webhook-endpoint", WebhookEndpoint);
