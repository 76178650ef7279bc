// The spans of a run on a time axis: model calls, tool calls and waits, each a row with its bar.

import { define, Element, html, nothing } from "../app/element.js";
import { count, duration } from "../app/format.js";
import { run as texts } from "../messages/run.js";
import "./icon.js";

const TICKS = 3;

function nameOf(span) {
  if (span.kind === "model") return texts.modelCall(span.call, span.attempt);
  if (span.kind === "wait") return texts.waited(span.name);
  if (span.kind === "queue") return texts.queue;
  return span.name;
}

function noteOf(span) {
  const tokens = span.usage ? `${count(span.usage.prompt_tokens + span.usage.completion_tokens)} tokens` : "";
  return [duration(span.end - span.start), tokens].filter(Boolean).join(" · ");
}

class Waterfall extends Element {
  static properties = { spans: { attribute: false }, chosen: { attribute: false } };

  row(span) {
    const { start, end } = this.spans;
    const whole = Math.max(end - start, 0.001);
    const left = (100 * (span.start - start)) / whole;
    const width = Math.max(0.4, (100 * (span.end - span.start)) / whole);
    const isChosen = span.entry.version === this.chosen;
    const name = nameOf(span);
    return html`<button type="button" class="span-row" aria-pressed=${isChosen} @click=${() => this.dispatchEvent(new CustomEvent("choose", { detail: span.entry.version }))}>
      <span class="span-name truncate">${span.isFailure ? html`<et-icon name="alert"></et-icon>` : nothing}${name}</span>
      <span class="span-track"><i class="bar ${span.kind} ${span.isFailure ? "failure" : ""} ${span.isOpen ? "open" : ""}" .style=${`left:${left}%;width:${width}%`}></i></span>
      <span class="span-note number">${noteOf(span)}</span>
    </button>`;
  }

  render() {
    const { start, end, spans } = this.spans;
    const whole = end - start;
    return html`<div class="waterfall" role="group" aria-label=${texts.waterfall}>
      <div class="span-row axis tiny faint number" aria-hidden="true"><span></span>
        <span class="span-track">${Array.from({ length: TICKS }, (_, at) => html`<span class="tick" .style=${`left:${(100 * at) / (TICKS - 1)}%`}>${duration((whole * at) / (TICKS - 1))}</span>`)}</span>
        <span></span></div>
      ${spans.map((span) => this.row(span))}
    </div>`;
  }
}

define("et-waterfall", Waterfall);
