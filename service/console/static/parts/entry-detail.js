// What is behind an event of a run: the prompt by its parts, the raw answer, and the event's content.

import { define, Element, html, nothing } from "../app/element.js";
import { count, exactTime } from "../app/format.js";
import { run as texts } from "../messages/run.js";
import "./code-view.js";
import "./prompt-view.js";

class EntryDetail extends Element {
  static properties = { entry: { attribute: false } };

  render() {
    const { entry } = this;
    if (!entry) return html`<aside class="card detail"><p class="faint small">${texts.choose}</p></aside>`;
    return html`<aside class="card detail" aria-live="polite">
      <header><h2 class="mono">${entry.type}</h2><span class="tiny faint number" title=${exactTime(entry.at)}>${texts.columns.version} ${count(entry.version)}</span></header>
      ${entry.summary ? html`<p class="small soft">${entry.summary}</p>` : nothing}
      ${entry.action ? html`<p class="small"><span class="faint">${texts.why}</span> ${entry.action}</p>` : nothing}
      ${entry.prompt ? html`<et-prompt .prompt=${entry.prompt}></et-prompt>` : nothing}
      ${entry.answer ? html`<section><h3>${texts.answer}</h3><et-code .value=${entry.answer} language="json" label=${texts.answer}></et-code></section>` : nothing}
      <section><h3>${texts.content}</h3><et-code .value=${entry.content} language="json" label=${texts.content}></et-code></section>
    </aside>`;
  }
}

define("et-entry-detail", EntryDetail);
