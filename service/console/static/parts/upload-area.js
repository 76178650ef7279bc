// A place for files: by drag and drop or by a dialog, with the progress of each. It reports each file that was uploaded.

import { define, Element, html, nothing, notify } from "../app/element.js";
import { upload } from "../app/upload.js";
import { files as texts } from "../messages/files.js";

class UploadArea extends Element {
  static properties = { hasPurpose: { type: Boolean }, waiting: { state: true }, isOver: { state: true } };

  constructor() {
    super();
    this.waiting = [];
  }

  async take(files) {
    const purpose = this.querySelector("select")?.value ?? "assistants";
    for (const file of files) {
      const entry = { name: file.name, share: 0 };
      this.waiting = [...this.waiting, entry];
      try {
        const made = await upload(file, purpose, (share) => {
          entry.share = share;
          this.requestUpdate();
        });
        notify(texts.uploaded(file.name));
        this.dispatchEvent(new CustomEvent("uploaded", { detail: made }));
      } catch (error) {
        notify(`${file.name}: ${error.message}`, error.requestId);
      }
      this.waiting = this.waiting.filter((one) => one !== entry);
    }
  }

  over(event, isOver) {
    event.preventDefault();
    this.isOver = isOver;
  }

  drop(event) {
    this.over(event, false);
    this.take([...event.dataTransfer.files]);
  }

  render() {
    return html`<div class="drop" ?data-over=${this.isOver} @dragover=${(event) => this.over(event, true)} @dragleave=${(event) => this.over(event, false)} @drop=${this.drop}>
      <span class="soft small">${texts.drop}</span>
      <label class="button"><et-icon name="attach"></et-icon>${texts.choose}<input class="visually-hidden" type="file" multiple @change=${(event) => {
        this.take([...event.target.files]);
        event.target.value = "";
      }} /></label>
      ${
        this.hasPurpose
          ? html`<label class="check"><span class="small faint">${texts.purpose}</span><select>${texts.purposes.map((name) => html`<option>${name}</option>`)}</select></label>`
          : nothing
      }
      ${this.waiting.map((one) => html`<progress max="1" .value=${one.share} aria-label=${texts.uploading(one.name, one.share)}></progress><span class="tiny faint truncate">${texts.uploading(one.name, one.share)}</span>`)}
    </div>`;
  }
}

define("et-upload-area", UploadArea);
