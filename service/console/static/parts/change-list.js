// The history of an assistant: each change as a difference, with a button that restores the version.

import { define, Element, html, nothing } from "../app/element.js";
import { canWrite } from "../app/session.js";
import { diffLines } from "../app/text-diff.js";
import { history as texts } from "../messages/assistants.js";

const asText = (value) => (value === undefined || value === null ? "" : typeof value === "string" ? value : JSON.stringify(value, null, 2));
// Values that say the same: nothing.
const isNothing = (value) => value === undefined || value === null || JSON.stringify(value) === "{}" || JSON.stringify(value) === "[]";
const isSame = (a, b) => (isNothing(a) && isNothing(b)) || JSON.stringify(a) === JSON.stringify(b);

const KINDS = { "+": "added", "-": "removed", " ": "same" };

class ChangeList extends Element {
  /** `versions`: entries of the API with the settings `before` and `after`, the newest first. */
  static properties = { versions: { attribute: false } };

  difference(name, before, after) {
    return html`<div class="difference"><h3 class="mono">${name}</h3>
      <pre tabindex="0">${diffLines(asText(before), asText(after)).map(([kind, line]) => html`<span class=${KINDS[kind]}>${kind} ${line}\n</span>`)}</pre></div>`;
  }

  version({ version, created_at: at, actor, change, before, after }, index) {
    const names = Object.keys(after).filter((name) => !isSame(before?.[name], after[name]));
    return html`<li class="card change">
      <header><b>${texts.version(version)}</b> <span class="soft small">${texts[change]}</span>
        <et-time .value=${at}></et-time><span class="tiny faint mono truncate">${texts.by(actor)}</span>
        ${index > 0 && canWrite() ? html`<button type="button" @click=${() => this.dispatchEvent(new CustomEvent("restore-version", { detail: version }))}>${texts.restore}</button>` : nothing}
      </header>
      ${names.length ? names.map((name) => this.difference(name, before?.[name], after[name])) : html`<p class="small faint">${texts.unchanged}</p>`}
    </li>`;
  }

  render() {
    return html`<ol class="changes">${this.versions.map((one, index) => this.version(one, index))}</ol>`;
  }
}

define("et-change-list", ChangeList);
