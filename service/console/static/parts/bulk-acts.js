// Acts on the threads that are selected: delete them, or cancel their active runs, after a dry run.

import { list, post, remove } from "../app/api.js";
import { define, Element, html, notify } from "../app/element.js";
import { isTerminal } from "../app/thread-feed.js";
import { threads as texts } from "../messages/threads.js";
import { ask } from "./confirm-dialog.js";

const AT_ONCE = 4;

class BulkActs extends Element {
  static properties = { ids: { attribute: false }, isBusy: { state: true } };

  async delete() {
    const count = this.ids.length;
    const question = { heading: texts.deleteHeading(count), text: texts.deleteText, action: texts.deleteNow(count), isDanger: true };
    if (await ask(question)) await this.carryOut(this.ids, (id) => remove(`/v1/threads/${id}`));
  }

  async cancel() {
    const active = [];
    this.isBusy = true;
    await each(this.ids, async (id) => {
      const runs = await list(`/v1/threads/${id}/runs`, { query: { order: "desc" }, most: 10 });
      active.push(...runs.filter((run) => !isTerminal(run)));
    });
    this.isBusy = false;
    const question = { heading: texts.cancelHeading(active.length), text: texts.cancelText, action: texts.cancelNow(active.length) };
    if (await ask(question)) await this.carryOut(active, (run) => post(`/v1/threads/${run.thread_id}/runs/${run.id}/cancel`));
  }

  async carryOut(items, work) {
    this.isBusy = true;
    const failed = await each(items, work);
    this.isBusy = false;
    notify(texts.done(items.length - failed, failed));
    this.dispatchEvent(new CustomEvent("carried-out"));
  }

  render() {
    return html`<div class="bulk" role="toolbar" aria-label=${texts.selected(this.ids.length)}>
      <b class="small">${texts.selected(this.ids.length)}</b>
      <button type="button" ?disabled=${this.isBusy} @click=${this.cancel}>${texts.cancelSelected}</button>
      <button type="button" class="danger" ?disabled=${this.isBusy} @click=${this.delete}>${texts.deleteSelected}</button>
    </div>`;
  }
}

/** Works on all items, a few at once, and returns how many failed. */
async function each(items, work) {
  const waiting = [...items];
  let failed = 0;
  const worker = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) {
      await Promise.resolve(work(item)).catch(() => {
        failed += 1;
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return failed;
}

define("et-bulk-acts", BulkActs);
