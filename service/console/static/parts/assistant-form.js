// The form of an assistant's settings. Functions are JSON, checked as a schema while they are written.

import { define, Element, html, nothing } from "../app/element.js";
import { canWrite } from "../app/session.js";
import { problemsOfSchema } from "../app/schema.js";
import { form as texts } from "../messages/assistants.js";

const NEW_FUNCTION = { name: "", description: "", parameters: { type: "object", properties: {}, required: [] } };

/** Returns the problems of the text of a function, as sentences. */
export function problemsOfFunction(text, number) {
  let parsed;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    return [texts.notJson(number, error.message)];
  }
  if (!parsed.name) return [texts.noName(number)];
  return problemsOfSchema(parsed.parameters ?? { type: "object" }).map(([path, message]) => texts.schema(parsed.name, path, message));
}

class AssistantForm extends Element {
  static properties = { assistant: { attribute: false }, models: { attribute: false }, functions: { state: true }, problems: { state: true } };

  willUpdate(changes) {
    if (!changes.has("assistant")) return;
    const tools = this.assistant.tools ?? [];
    this.functions = tools.filter((tool) => tool.type === "function").map((tool) => JSON.stringify(tool.function, null, 2));
    this.problems = [];
  }

  value(name) {
    return this.querySelector(`[name="${name}"]`).value;
  }

  has(type) {
    return (this.assistant.tools ?? []).some((tool) => tool.type === type);
  }

  /** Returns the body of the request. */
  read() {
    const number = (name) => (this.value(name) === "" ? null : Number(this.value(name)));
    const tools = ["code_interpreter", "file_search"].filter((type) => this.querySelector(`[name="${type}"]`).checked).map((type) => ({ type }));
    const functions = this.functions.map((text) => ({ type: "function", function: JSON.parse(text) }));
    const ids = (name) => this.value(name).split(/[\s,]+/).filter(Boolean);
    const format = this.value("format");
    const pairs = this.value("metadata").split("\n").filter((line) => line.includes("="));
    return {
      name: this.value("name") || null,
      description: this.value("description") || null,
      instructions: this.value("instructions") || null,
      model: this.value("model"),
      temperature: number("temperature"),
      top_p: number("top_p"),
      ...(format === "schema" ? {} : { response_format: format === "auto" ? "auto" : { type: format } }),
      tools: [...tools, ...functions],
      tool_resources: { file_search: { vector_store_ids: ids("stores") }, code_interpreter: { file_ids: ids("files") } },
      metadata: Object.fromEntries(pairs.map((line) => [line.slice(0, line.indexOf("=")).trim(), line.slice(line.indexOf("=") + 1).trim()])),
    };
  }

  submit(event) {
    event.preventDefault();
    this.problems = this.functions.flatMap((text, at) => problemsOfFunction(text, at + 1));
    if (!this.problems.length) this.dispatchEvent(new CustomEvent("save-assistant", { detail: this.read() }));
  }

  change(at, text) {
    this.functions = this.functions.map((one, index) => (index === at ? text : one));
  }

  field(name, label, value, type = "text", more = {}) {
    return html`<div><label for="f-${name}">${label}</label>
      <input id="f-${name}" name=${name} type=${type} .value=${value ?? ""} placeholder=${more.hint ?? ""} list=${more.list ?? nothing} ?required=${more.required}
        min=${more.min ?? nothing} max=${more.max ?? nothing} step=${more.step ?? nothing} spellcheck=${more.spellcheck ?? "false"} /></div>`;
  }

  area(name, label, value, rows, hint = "") {
    return html`<div class="wide"><label for="f-${name}">${label}</label><textarea id="f-${name}" name=${name} rows=${rows} placeholder=${hint} .value=${value ?? ""}></textarea></div>`;
  }

  tools() {
    const { tool_resources: resources } = this.assistant;
    return html`<fieldset class="wide"><legend>${texts.tools}</legend>
      <label class="check"><input type="checkbox" name="code_interpreter" .checked=${this.has("code_interpreter")} /> ${texts.codeInterpreter} <span class="faint">${texts.codeHint}</span></label>
      <label class="check"><input type="checkbox" name="file_search" .checked=${this.has("file_search")} /> ${texts.fileSearch} <span class="faint">${texts.fileHint}</span></label>
    </fieldset>
    ${this.field("stores", texts.stores, resources?.file_search?.vector_store_ids?.join(", "), "text", { hint: texts.storesHint })}
    ${this.field("files", texts.codeFiles, resources?.code_interpreter?.file_ids?.join(", "), "text", { hint: texts.storesHint })}`;
  }

  function(text, at) {
    const problems = problemsOfFunction(text, at + 1);
    return html`<div class="wide function"><label for="function-${at}">${texts.functionLabel(at + 1)} <span class="faint tiny">${texts.functionHint}</span></label>
      <textarea id="function-${at}" class="mono" rows="10" spellcheck="false" aria-invalid=${problems.length > 0} .value=${text} @input=${(event) => this.change(at, event.target.value)}></textarea>
      <p class="field-error" role="status">${problems[0] ?? nothing}</p>
      <button type="button" class="quiet danger" @click=${() => {
        this.functions = this.functions.filter((_, index) => index !== at);
      }}>${texts.removeFunction(at + 1)}</button></div>`;
  }

  render() {
    const { assistant } = this;
    const format = assistant.response_format;
    const current = typeof format === "object" ? (texts.formats[format.type] ? format.type : "schema") : "auto";
    return html`<form class="assistant-form card" @submit=${this.submit}><fieldset class="bare" ?disabled=${!canWrite()}>
      ${this.field("name", texts.name, assistant.name, "text", { spellcheck: "true" })}
      ${this.field("model", texts.model, assistant.model, "text", { required: true, list: "assistant-models" })}
      <datalist id="assistant-models">${this.models.map((name) => html`<option value=${name}></option>`)}</datalist>
      <div class="wide">${this.field("description", texts.description, assistant.description, "text", { spellcheck: "true" })}</div>
      ${this.area("instructions", texts.instructions, assistant.instructions, 8)}
      ${this.field("temperature", texts.temperature, assistant.temperature, "number", { min: 0, max: 2, step: 0.1 })}
      ${this.field("top_p", texts.topP, assistant.top_p, "number", { min: 0, max: 1, step: 0.05 })}
      <div><label for="f-format">${texts.format}</label><select id="f-format" name="format">
        ${Object.entries(texts.formats).map(([name, text]) => html`<option value=${name} ?selected=${name === current}>${text}</option>`)}
        ${current === "schema" ? html`<option value="schema" selected>${format.type}</option>` : nothing}
      </select></div>
      ${this.tools()}
      <div class="wide"><h3>${texts.functions}</h3></div>
      ${this.functions.map((text, at) => this.function(text, at))}
      <div class="wide"><button type="button" @click=${() => {
        this.functions = [...this.functions, JSON.stringify(NEW_FUNCTION, null, 2)];
      }}><et-icon name="plus"></et-icon>${texts.addFunction}</button></div>
      ${this.area("metadata", texts.metadata, Object.entries(assistant.metadata ?? {}).map(([key, value]) => `${key}=${value}`).join("\n"), 3, texts.metadataHint)}
      ${this.problems.length ? html`<div class="wide field-error" role="alert">${texts.problems} ${this.problems.map((one) => html`<p>${one}</p>`)}</div>` : nothing}
      ${canWrite() ? html`<div class="wide"><button type="submit" class="primary">${assistant.id ? texts.save : texts.create}</button></div>` : nothing}
    </fieldset></form>`;
  }
}

define("et-assistant-form", AssistantForm);
