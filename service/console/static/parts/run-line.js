// The end of a run in a conversation: its state in words, its error, and what can be done.

import { post } from "../app/api.js";
import { define, Element, html, nothing, notify } from "../app/element.js";
import { href } from "../app/router.js";
import { canWrite } from "../app/session.js";
import { runStates } from "../messages/threads.js";
import "./icon.js";
import "./tool-outputs.js";

class RunLine extends Element {
  static properties = { run: { attribute: false }, isPast: { attribute: false } };

  async cancel() {
    try {
      await post(`/v1/threads/${this.run.thread_id}/runs/${this.run.id}/cancel`);
    } catch (error) {
      notify(error.message, error.requestId);
    }
  }

  render() {
    const { run } = this;
    const open = this.isPast ? nothing : html`<a href=${href("threads", run.thread_id, "runs", run.id)}>${runStates.open}</a>`;
    if (run.status === "completed") return html`<p class="run-line">${open}</p>`;
    if (run.status === "requires_action" && canWrite() && !this.isPast) return html`<et-tool-outputs .run=${run}></et-tool-outputs>`;
    const isBad = ["failed", "expired", "incomplete"].includes(run.status);
    const isActive = ["queued", "in_progress", "cancelling", "requires_action"].includes(run.status);
    return html`<div class="run-line ${isBad ? "bad" : ""}">
      ${isBad ? html`<et-icon name="alert"></et-icon>` : nothing}
      ${isActive && !this.isPast ? html`<i class="pulse"></i>` : nothing}
      <span><b>${runStates[run.status]}</b> ${run.last_error?.message ?? run.incomplete_details?.reason ?? ""}</span> ${open}
      ${
        ["queued", "in_progress"].includes(run.status) && canWrite() && !this.isPast
          ? html`<button type="button" class="quiet" @click=${this.cancel}>${runStates.cancel}</button>`
          : nothing
      }
    </div>`;
  }
}

define("et-run-line", RunLine);
