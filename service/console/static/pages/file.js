// A file: what is known of it, and the beginning of its content.

import { get, post, remove, send } from "../app/api.js";
import { define, html, nothing, View } from "../app/element.js";
import { bytes } from "../app/format.js";
import { href, navigate } from "../app/router.js";
import { canWrite } from "../app/session.js";
import { saveFile } from "../app/thread-download.js";
import { common } from "../messages/common.js";
import { files as texts } from "../messages/files.js";
import { ask } from "../parts/confirm-dialog.js";
import "../parts/fact-list.js";
import "../parts/file-image.js";

const PREVIEW_BYTES = 65_536;
const PICTURE = /\.(png|jpe?g|gif|webp)$/i;

class FilePage extends View {
  static properties = { fileId: { attribute: false }, file: { state: true }, text: { state: true } };

  get path() {
    return `/v1/files/${encodeURIComponent(this.fileId)}`;
  }

  async load() {
    this.file = await get(this.path);
    this.text = PICTURE.test(this.file.filename) ? null : await this.readBeginning();
  }

  /** Returns the first bytes as text, or null if they are none. */
  async readBeginning() {
    if (!this.file.bytes) return "";
    const response = await send("GET", `${this.path}/content`, { headers: { Range: `bytes=0-${PREVIEW_BYTES - 1}` } });
    const text = new TextDecoder().decode(await response.arrayBuffer());
    const isText = !text.includes("\0") && text.replaceAll("\uFFFD", "").length > text.length * 0.9;
    return isText ? text : null;
  }

  /** Saves the file. A link lets the browser stream it; a person who may not make links gets it through the page. */
  async download() {
    await this.act(async () => {
      if (canWrite()) {
        const link = document.createElement("a");
        link.href = (await post(`${this.path}/links`, {})).url;
        link.download = this.file.filename;
        link.click();
        return;
      }
      const response = await send("GET", `${this.path}/content`);
      saveFile(this.file.filename, await response.blob(), "application/octet-stream");
    });
  }

  async delete() {
    if (!(await ask({ heading: texts.deleteHeading, text: texts.deleteText, action: common.delete, isDanger: true }))) return;
    await this.act(async () => {
      await remove(this.path);
      navigate(href("files"));
    });
  }

  preview() {
    const { file, text } = this;
    if (PICTURE.test(file.filename)) return html`<et-file-image .fileId=${file.id} alt=${file.filename}></et-file-image>`;
    if (text === null) return html`<p class="faint">${texts.binary}</p>`;
    return html`${file.bytes > PREVIEW_BYTES ? html`<p class="tiny faint">${texts.cut(bytes(PREVIEW_BYTES), bytes(file.bytes))}</p>` : nothing}<pre tabindex="0">${text}</pre>`;
  }

  content() {
    const { file } = this;
    const facts = [
      [texts.columns.purpose, file.purpose],
      [texts.columns.size, bytes(file.bytes)],
      [texts.created, html`<et-time .value=${file.created_at}></et-time>`],
      [texts.expires, html`<et-time .value=${file.expires_at}></et-time>`],
    ];
    return html`<div class="strip"><et-facts .facts=${facts}></et-facts></div>
      <section class="card block preview"><h2>${texts.preview}</h2>${this.preview()}</section>`;
  }

  render() {
    return html`<nav class="crumbs"><a href=${href("files")}>${texts.all}</a><span>/</span><et-id .value=${this.fileId}></et-id></nav>
      <div class="head"><div class="title"><h1>${this.file?.filename ?? texts.id}</h1></div><div class="actions">
        ${this.file ? html`<button type="button" @click=${this.download}><et-icon name="download"></et-icon>${common.download}</button>` : nothing}
        ${this.file && canWrite() ? html`<button type="button" class="danger" @click=${this.delete}>${common.delete}</button>` : nothing}
      </div></div>${this.whenLoaded(() => this.content())}`;
  }
}

define("et-file", FilePage);
