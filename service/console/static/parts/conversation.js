// A conversation: messages, tool calls and the ends of runs, in their order.

import { entriesOf } from "../app/conversation-entries.js";
import { define, Element, html, nothing } from "../app/element.js";
import { thread as texts } from "../messages/threads.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import "./message-view.js";
import "./run-line.js";
import "./tool-calls.js";

class Conversation extends Element {
  static properties = {
    messages: { attribute: false },
    runs: { attribute: false },
    stepsOf: { attribute: false },
    streaming: { attribute: false },
    names: { attribute: false },
    actionsOf: { attribute: false },
    highlights: { attribute: false },
    isPast: { attribute: false },
  };

  constructor() {
    super();
    this.streaming = new Set();
    this.names = {};
    this.highlights = new Set();
  }

  entry(entry) {
    if (entry.kind === "message") {
      const { message } = entry;
      return html`<et-message ?data-changed=${this.highlights.has(message.id)} .message=${message}
        .author=${this.names[message.assistant_id]} .isStreaming=${this.streaming.has(message.id)}
        .actions=${this.actionsOf?.(message) ?? nothing}></et-message>`;
    }
    if (entry.kind === "calls") {
      return html`<et-tool-calls ?data-changed=${this.highlights.has(entry.step.id)} .step=${entry.step}></et-tool-calls>`;
    }
    return html`<et-run-line ?data-changed=${this.highlights.has(entry.run.id)} .run=${entry.run} .isPast=${this.isPast}></et-run-line>`;
  }

  render() {
    const entries = entriesOf(this.messages, this.runs, this.stepsOf);
    if (!entries.length) return html`<et-empty icon="playground" heading=${texts.empty} text=${this.isPast ? texts.emptyReadOnly : texts.emptyText}></et-empty>`;
    return html`<div class="conversation" role="log" aria-label=${texts.title}>
      ${repeat(entries, (entry) => `${entry.kind}-${(entry.message ?? entry.step ?? entry.run).id}`, (entry) => this.entry(entry))}
    </div>`;
  }
}

define("et-conversation", Conversation);
