// The prompt of a model call as it was sent: its parts with their tokens, and what truncation left out.

import { define, Element, html, nothing } from "../app/element.js";
import { count } from "../app/format.js";
import { run as texts } from "../messages/run.js";
import "./code-view.js";

class PromptView extends Element {
  static properties = { prompt: { attribute: false } };

  text(message) {
    if (typeof message.content === "string") return html`<pre class="plain">${message.content}</pre>`;
    return html`<et-code .value=${message} language="json" label=${texts.prompt}></et-code>`;
  }

  part(part) {
    const share = this.prompt.tokens ? (100 * part.tokens) / this.prompt.tokens : 0;
    return html`<details class="prompt-part">
      <summary><b>${texts.parts[part.kind] ?? part.kind}</b>
        <span class="meter" aria-hidden="true"><i .style=${`width:${share}%`}></i></span>
        <span class="tiny number faint">${count(part.tokens)}</span></summary>
      ${(part.messages ?? []).map((message) => this.text(message))}
    </details>`;
  }

  render() {
    const { prompt } = this;
    const left = prompt.left_out ?? 0;
    return html`<section>
      <h3>${texts.prompt}</h3>
      <p class="tiny faint">${texts.promptTokens(count(prompt.tokens), count(prompt.room))}. ${texts.fidelity[prompt.fidelity] ?? texts.fidelity.other}</p>
      ${(prompt.parts ?? []).map((part) => this.part(part))}
      <p class="tiny ${left ? "warn-text" : "faint"}">${left ? texts.dropped(left) : texts.nothingDropped}</p>
      ${prompt.body ? html`<details class="prompt-part"><summary><b>${texts.raw}</b></summary><et-code .value=${prompt.body} language="json" label=${texts.raw}></et-code></details>` : nothing}
    </section>`;
  }
}

define("et-prompt", PromptView);
