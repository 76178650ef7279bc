// One message of a conversation: its text, pictures, refusal, sources and attachments.

import { define, Element, html, nothing } from "../app/element.js";
import { calls, thread } from "../messages/threads.js";
import "./file-image.js";
import "./icon.js";
import "./id-chip.js";
import "./rich-text.js";
import "./time-stamp.js";

class MessageView extends Element {
  static properties = { message: { attribute: false }, author: {}, isStreaming: { attribute: false }, actions: { attribute: false } };

  content(part) {
    if (part.type === "text") return html`<et-text .text=${part.text.value} .isStreaming=${this.isStreaming}></et-text>${this.sources(part.text.annotations)}`;
    if (part.type === "refusal") return html`<p class="notice calm">${part.refusal}</p>`;
    if (part.type === "image_file") return html`<et-file-image .fileId=${part.image_file.file_id} alt=""></et-file-image>`;
    if (part.type === "image_url") return html`<p class="mono small soft truncate">${part.image_url.url}</p>`;
    return nothing;
  }

  sources(annotations) {
    const cited = (annotations ?? []).filter((one) => one.type === "file_citation");
    if (!cited.length) return nothing;
    return html`<ul class="sources">
      ${cited.map(
        ({ file_citation: citation, text }, at) => html`<li>
          <details><summary>${calls.citation(at + 1)} <span class="faint mono tiny">${text}</span></summary>
          <p class="small">${citation.quote ?? nothing}</p><et-id .value=${citation.file_id}></et-id></details></li>`,
      )}
    </ul>`;
  }

  render() {
    const { role, created_at: at, content, attachments, id } = this.message;
    const name = role === "user" ? thread.user : this.author || thread.assistant;
    return html`<article class="message ${role}" data-id=${id} aria-label=${name}>
      <header><b class="truncate">${name}</b><et-time .value=${at}></et-time><span class="message-actions">${this.actions ?? nothing}</span></header>
      <div class="message-body">
        ${content.map((part) => this.content(part))}
        ${this.isStreaming ? html`<span class="caret" aria-hidden="true"></span>` : nothing}
        ${
          attachments?.length
            ? html`<ul class="attachments" aria-label=${thread.attachments}>
              ${attachments.map((one) => html`<li><et-icon name="attach"></et-icon><et-id .value=${one.file_id}></et-id></li>`)}
            </ul>`
            : nothing
        }
      </div>
    </article>`;
  }
}

define("et-message", MessageView);
