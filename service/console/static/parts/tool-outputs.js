// The form of a run that waits for the outputs of functions. It checks the arguments against the function's schema.

import { post } from "../app/api.js";
import { define, Element, html, nothing, notify } from "../app/element.js";
import { problemsOf } from "../app/schema.js";
import { calls as texts } from "../messages/threads.js";
import "./code-view.js";

class ToolOutputs extends Element {
  static properties = { run: { attribute: false }, isBusy: { state: true }, texts: { state: true } };

  constructor() {
    super();
    this.texts = {};
  }

  async submit(event) {
    event.preventDefault();
    const { run } = this;
    const outputs = this.calls.map((call) => ({ tool_call_id: call.id, output: this.texts[call.id] ?? "" }));
    this.isBusy = true;
    try {
      await post(`/v1/threads/${run.thread_id}/runs/${run.id}/submit_tool_outputs`, { tool_outputs: outputs });
      this.dispatchEvent(new CustomEvent("submitted", { bubbles: true }));
    } catch (error) {
      notify(error.message, error.requestId);
    } finally {
      this.isBusy = false;
    }
  }

  get calls() {
    return this.run.required_action?.submit_tool_outputs?.tool_calls ?? [];
  }

  problems(call) {
    const tool = this.run.tools.find((one) => one.type === "function" && one.function.name === call.function.name);
    try {
      return problemsOf(tool?.function.parameters, JSON.parse(call.function.arguments || "{}"));
    } catch (error) {
      return [["", error.message]];
    }
  }

  hint(text) {
    if (!text || !/^\s*[[{]/.test(text)) return nothing;
    try {
      JSON.parse(text);
      return nothing;
    } catch {
      return html`<p class="tiny faint">${texts.notJson}</p>`;
    }
  }

  call(call) {
    const problems = this.problems(call);
    const id = `output-${call.id}`;
    return html`<fieldset>
      <legend class="mono">${call.function.name}</legend>
      <et-code .value=${call.function.arguments} language="json" label=${texts.arguments}></et-code>
      ${
        problems.length
          ? html`<div class="field-error" role="status">${texts.invalid} ${problems.map(([path, message]) => html`<code>${path}</code> ${message}. `)}</div>`
          : nothing
      }
      <label for=${id}>${texts.outputLabel(call.function.name)}</label>
      <textarea id=${id} rows="3" class="mono" spellcheck="false" .value=${this.texts[call.id] ?? ""}
        @input=${(event) => {
          this.texts = { ...this.texts, [call.id]: event.target.value };
        }}></textarea>
      ${this.hint(this.texts[call.id])}
    </fieldset>`;
  }

  render() {
    return html`<form class="outputs" @submit=${this.submit} aria-label=${texts.heading}>
      <h3>${texts.heading}</h3>
      <p class="small soft">${texts.text}</p>
      ${this.calls.map((call) => this.call(call))}
      <button class="primary" type="submit" ?disabled=${this.isBusy}>${texts.submit}</button>
    </form>`;
  }
}

define("et-tool-outputs", ToolOutputs);
