// The field for the next message, with files by choice or by drag and drop. It reports {text, attachments}.

import { send } from "../app/api.js";
import { define, Element, html, nothing, notify } from "../app/element.js";
import { playground as texts } from "../messages/playground.js";
import "./icon.js";

class MessageComposer extends Element {
  static properties = {
    isActive: { attribute: false },
    isDisabled: { attribute: false },
    files: { state: true },
    isOver: { state: true },
    purpose: { state: true },
  };

  constructor() {
    super();
    this.files = [];
    this.purpose = "file_search";
  }

  get field() {
    return this.querySelector("textarea");
  }

  async add(chosen) {
    for (const file of chosen) {
      const entry = { name: file.name, isReady: false };
      this.files = [...this.files, entry];
      const form = new FormData();
      form.append("purpose", "assistants");
      form.append("file", file);
      try {
        const made = await (await send("POST", "/v1/files", { body: form })).json();
        this.files = this.files.map((one) => (one === entry ? { ...entry, id: made.id, isReady: true } : one));
      } catch (error) {
        this.files = this.files.filter((one) => one !== entry);
        notify(error.message, error.requestId);
      }
    }
  }

  submit(event) {
    event?.preventDefault();
    const text = this.field.value.trim();
    if (!text || this.isActive || this.isDisabled || this.files.some((file) => !file.isReady)) return;
    const attachments = this.files.map(({ id }) => ({ file_id: id, tools: [{ type: this.purpose }] }));
    this.dispatchEvent(new CustomEvent("send-message", { detail: { text, attachments } }));
    this.field.value = "";
    this.files = [];
    this.grow();
  }

  grow() {
    this.field.style.height = "auto";
    this.field.style.height = `${Math.min(this.field.scrollHeight + 2, 260)}px`;
  }

  pressed(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    this.submit(event);
  }

  drag(event, isOver) {
    event.preventDefault();
    this.isOver = isOver;
    if (event.type === "drop") this.add(event.dataTransfer.files);
  }

  chips() {
    if (!this.files.length) return nothing;
    return html`<div class="composer-files">
      ${this.files.map(
        (file) => html`<span class="tag">${file.isReady ? file.name : texts.uploading(file.name)}
          <button type="button" class="quiet" aria-label=${texts.remove(file.name)} @click=${() => {
            this.files = this.files.filter((one) => one !== file);
          }}><et-icon name="close"></et-icon></button></span>`,
      )}
      <label class="tiny">${texts.useFor} <select @change=${(event) => {
        this.purpose = event.target.value;
      }}><option value="file_search">${texts.forSearch}</option><option value="code_interpreter">${texts.forCode}</option></select></label>
    </div>`;
  }

  render() {
    return html`<form class="composer" ?data-over=${this.isOver} @submit=${this.submit}
      @dragover=${(event) => this.drag(event, true)} @dragleave=${(event) => this.drag(event, false)} @drop=${(event) => this.drag(event, false)}>
      ${this.chips()}
      <textarea rows="1" aria-label=${texts.write} placeholder=${this.isOver ? texts.drop : texts.write} ?disabled=${this.isDisabled}
        @input=${this.grow} @keydown=${this.pressed}></textarea>
      <div class="composer-foot">
        <label class="attach" title=${texts.attach}><et-icon name="attach"></et-icon><span class="visually-hidden">${texts.attach}</span>
          <input type="file" multiple class="visually-hidden" @change=${(event) => {
            this.add(event.target.files);
            event.target.value = "";
          }} /></label>
        <span class="tiny faint wide-only">${texts.hint}</span>
        ${
          this.isActive
            ? html`<button type="button" @click=${() => this.dispatchEvent(new CustomEvent("cancel-run"))}><et-icon name="stop"></et-icon>${texts.stop}</button>`
            : html`<button type="submit" class="primary" ?disabled=${this.isDisabled}><et-icon name="send"></et-icon>${texts.send}</button>`
        }
      </div>
    </form>`;
  }
}

define("et-composer", MessageComposer);
