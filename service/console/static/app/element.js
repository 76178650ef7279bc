// The base of all components. They render into the page itself, so that its sheets and labels reach them.

import { html, LitElement, nothing } from "../vendor/lit/index.js";

export { html, nothing, svg } from "../vendor/lit/index.js";

export class Element extends LitElement {
  createRenderRoot() {
    return this;
  }
}

/** A view: loads data when its properties change, and shows the state of the loading. */
export class View extends Element {
  static properties = { error: { state: true }, isLoading: { state: true } };

  constructor() {
    super();
    this.error = null;
    this.isLoading = true;
    this.turn = 0;
  }

  connectedCallback() {
    super.connectedCallback();
    this.reload();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.turn += 1;
    this.release();
  }

  /** Loads the data of the view. A subclass gives it; `isCurrent()` says whether the result is still wanted. */
  async load() {}

  /** Ends what the view follows. */
  release() {}

  async reload() {
    const turn = ++this.turn;
    this.isLoading = true;
    this.error = null;
    try {
      await this.load(() => turn === this.turn);
    } catch (error) {
      if (turn === this.turn && error.name !== "AbortError") this.error = error;
    } finally {
      if (turn === this.turn) this.isLoading = false;
    }
  }

  /** Carries out an act of the person, and shows its error in place of the page's silence. */
  async act(work) {
    try {
      return await work();
    } catch (error) {
      if (error.name !== "AbortError") notify(error.message, error.requestId);
      return undefined;
    }
  }

  /** Returns the content, or what stands in its place while it loads and if that failed. */
  whenLoaded(content) {
    if (this.error) return html`<et-error .error=${this.error} @retry=${() => this.reload()}></et-error>`;
    if (this.isLoading) return html`<et-loading></et-loading>`;
    return content() ?? nothing;
  }
}

/** Shows a short notice for some seconds. */
export function notify(text, requestId = null) {
  dispatchEvent(new CustomEvent("et-notice", { detail: { text, requestId } }));
}

/** Defines a component once. */
export function define(name, type) {
  if (!customElements.get(name)) customElements.define(name, type);
}
