// The newest signed checkpoint of the log, to read and to keep.

import { send } from "../app/api.js";
import { define, Element, html } from "../app/element.js";
import { count } from "../app/format.js";
import { saveFile } from "../app/thread-download.js";
import { audit as texts } from "../messages/audit.js";
import "./fact-list.js";

const SIGNATURE = "\u2014 ";

/** Returns {origin, size, root, signers} of a signed note (https://c2sp.org/tlog-checkpoint). */
export function parseCheckpoint(note) {
  const [origin, size, root, ...rest] = note.split("\n");
  const signers = rest.filter((line) => line.startsWith(SIGNATURE)).map((line) => line.slice(SIGNATURE.length).split(" ")[0]);
  return { origin, size: Number(size), root, signers };
}

class CheckpointCard extends Element {
  static properties = { note: { state: true } };

  async connectedCallback() {
    super.connectedCallback();
    this.note = await send("GET", "/audit/log/checkpoint").then((response) => response.text(), () => null);
  }

  save() {
    saveFile(`checkpoint-${parseCheckpoint(this.note).size}`, this.note, "text/plain");
  }

  render() {
    if (this.note === undefined) return html`<et-loading></et-loading>`;
    if (this.note === null) return html`<section class="card block"><h2>${texts.checkpoint}</h2><p class="faint">${texts.noCheckpoint}</p></section>`;
    const { origin, size, root, signers } = parseCheckpoint(this.note);
    const facts = [
      [texts.size, count(size)],
      [texts.origin, html`<span class="mono tiny">${origin}</span>`],
      [texts.root, html`<span class="mono tiny">${root}</span>`],
      [texts.signatures, signers.join(", ")],
    ];
    return html`<details class="card block"><summary><b>${texts.checkpoint}</b> <span class="faint small">${texts.size}: ${count(size)}</span></summary>
      <p class="soft small">${texts.checkpointHint}</p>
      <et-facts .facts=${facts}></et-facts>
      <p><button type="button" @click=${this.save}><et-icon name="download"></et-icon>${texts.saveCheckpoint}</button></p>
      <p class="tiny faint">${texts.verifyHint}</p>
    </details>`;
  }
}

define("et-checkpoint", CheckpointCard);
