// A list of rows of one height, of which only those in sight are in the page.

import { define, Element, html } from "../app/element.js";

// Rows that are kept before and behind those in sight.
const MARGIN = 8;

class VirtualList extends Element {
  static properties = {
    items: { attribute: false },
    row: { type: Number },
    render_item: { attribute: false },
    label: {},
    first: { state: true },
    height: { state: true },
    hasMore: { attribute: false },
  };

  constructor() {
    super();
    this.items = [];
    this.row = 44;
    this.first = 0;
    this.height = 600;
  }

  firstUpdated() {
    this.frame = this.querySelector(".virtual");
    this.observer = new ResizeObserver(([entry]) => {
      this.height = entry.contentRect.height;
    });
    this.observer.observe(this.frame);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.observer?.disconnect();
  }

  scrolled() {
    const first = Math.max(0, Math.floor(this.frame.scrollTop / this.row) - MARGIN);
    if (first !== this.first) this.first = first;
    const isNearEnd = this.frame.scrollTop + this.frame.clientHeight > this.items.length * this.row - 400;
    if (this.hasMore && isNearEnd) this.dispatchEvent(new CustomEvent("more"));
  }

  /** Brings the row into sight. */
  reveal(at) {
    if (!this.frame) return;
    const top = at * this.row;
    if (top < this.frame.scrollTop) this.frame.scrollTop = top;
    else if (top + this.row > this.frame.scrollTop + this.frame.clientHeight) {
      this.frame.scrollTop = top + this.row - this.frame.clientHeight;
    }
  }

  render() {
    const most = Math.ceil(this.height / this.row) + 2 * MARGIN;
    const shown = this.items.slice(this.first, this.first + most);
    return html`<div class="virtual" role="list" aria-label=${this.label} tabindex="0" .style=${`height:${this.items.length * this.row}px`} @scroll=${this.scrolled}>
      <div .style=${`height:${this.items.length * this.row}px`}>
        <div .style=${`transform:translateY(${this.first * this.row}px)`}>
          ${shown.map((item, at) => html`<div role="listitem" class="virtual-row" .style=${`height:${this.row}px`}>${this.render_item(item, this.first + at)}</div>`)}
        </div>
      </div>
    </div>`;
  }
}

define("et-virtual-list", VirtualList);
