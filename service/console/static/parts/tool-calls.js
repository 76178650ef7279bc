// The tool calls of a step: arguments and output of functions, code and its plots, passages of a search.

import { define, Element, html, nothing } from "../app/element.js";
import { oneLine } from "../app/format.js";
import { calls as texts } from "../messages/threads.js";
import "./code-view.js";
import "./file-image.js";
import "./icon.js";
import "./status-badge.js";

class ToolCalls extends Element {
  static properties = { step: { attribute: false } };

  title(call) {
    if (call.type === "function") return html`<b class="mono">${call.function.name}</b> <span class="mono faint truncate">${oneLine(call.function.arguments ?? "", 90)}</span>`;
    if (call.type === "code_interpreter") return html`<b>${texts.code}</b> <span class="mono faint truncate">${oneLine(call.code_interpreter?.input ?? "", 90)}</span>`;
    return html`<b>${texts.search}</b> <span class="faint truncate">${texts.results(call.file_search?.results?.length ?? 0)}</span>`;
  }

  content(call) {
    if (call.type === "function") {
      const { arguments: given, output } = call.function;
      return html`<h3>${texts.arguments}</h3><et-code .value=${given ?? ""} language="json" label=${texts.arguments}></et-code>
        <h3>${texts.output}</h3>
        ${output === null || output === undefined ? html`<p class="faint small">${texts.waiting}</p>` : html`<et-code .value=${output} language="json" label=${texts.output}></et-code>`}`;
    }
    if (call.type === "code_interpreter") {
      const { input, outputs } = call.code_interpreter ?? {};
      return html`<et-code .value=${input ?? ""} language="python" label=${texts.code}></et-code>
        ${(outputs ?? []).map((output) =>
          output.type === "image"
            ? html`<et-file-image .fileId=${output.image?.file_id} alt=${texts.image}></et-file-image>`
            : html`<et-code .value=${output.logs ?? ""} language="text" label=${texts.output}></et-code>`,
        )}`;
    }
    const results = call.file_search?.results ?? [];
    return html`<ul class="passages">
      ${results.map(
        (result) => html`<li><b>${result.file_name}</b> <span class="faint tiny number">${texts.score(result.score)}</span>
          ${result.content?.map((part) => html`<p class="small soft">${oneLine(part.text ?? "", 400)}</p>`) ?? nothing}</li>`,
      )}
    </ul>`;
  }

  render() {
    const found = this.step.step_details?.tool_calls ?? [];
    return found.map(
      (call) => html`<details class="call" ?open=${call.type === "code_interpreter"}>
        <summary><et-icon name="tool"></et-icon>${this.title(call)}<et-status .status=${this.step.status}></et-status></summary>
        <div class="call-body">${this.content(call)}</div>
      </details>`,
    );
  }
}

define("et-tool-calls", ToolCalls);
