// A picture of this server's files, fetched with the session. Pictures of other hosts are never loaded.

import { send } from "../app/api.js";
import { define, Element, html, nothing } from "../app/element.js";

const TYPES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);

class FileImage extends Element {
  static properties = { fileId: { attribute: false }, alt: {}, source: { state: true } };

  async updated(changes) {
    if (!changes.has("fileId") || !this.fileId) return;
    try {
      const response = await send("GET", `/v1/files/${encodeURIComponent(this.fileId)}/content`);
      const blob = await response.blob();
      const type = await pictureType(blob);
      if (!TYPES.has(type)) return;
      this.release();
      this.source = URL.createObjectURL(new Blob([blob], { type }));
    } catch {
      this.source = null;
    }
  }

  release() {
    if (this.source) URL.revokeObjectURL(this.source);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.release();
  }

  render() {
    return this.source ? html`<img class="picture" src=${this.source} alt=${this.alt ?? ""} />` : nothing;
  }
}

/** Returns the type that the first bytes of a picture show. */
async function pictureType(blob) {
  const start = [...new Uint8Array(await blob.slice(0, 12).arrayBuffer())];
  const begins = (...bytes) => bytes.every((byte, at) => start[at] === byte);
  if (begins(0x89, 0x50, 0x4e, 0x47)) return "image/png";
  if (begins(0xff, 0xd8, 0xff)) return "image/jpeg";
  if (begins(0x47, 0x49, 0x46, 0x38)) return "image/gif";
  if (begins(0x52, 0x49, 0x46, 0x46) && start[8] === 0x57) return "image/webp";
  return "";
}

define("et-file-image", FileImage);
