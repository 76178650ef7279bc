// The slider of a replay, with buttons, and play at the recorded pace.

import { define, Element, html } from "../app/element.js";
import { clockTime } from "../app/format.js";
import { replay as texts } from "../messages/replay.js";
import "./icon.js";

const SPEEDS = [1, 4, 16];
// A pause of the recording is not longer than this, in seconds.
const MAX_GAP_S = 3;
const MIN_GAP_S = 0.12;

class ReplayBar extends Element {
  static properties = { events: { attribute: false }, index: { attribute: false }, isPlaying: { state: true }, speed: { state: true } };

  constructor() {
    super();
    this.speed = 1;
    this.onKey = (event) => {
      if (event.key !== " " || /^(INPUT|TEXTAREA|SELECT|BUTTON|SUMMARY|A)$/.test(event.target.tagName)) return;
      event.preventDefault();
      this.toggle();
    };
  }

  connectedCallback() {
    super.connectedCallback();
    addEventListener("keydown", this.onKey);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    removeEventListener("keydown", this.onKey);
    clearTimeout(this.timer);
  }

  go(index) {
    this.dispatchEvent(new CustomEvent("go", { detail: index }));
  }

  toggle() {
    this.isPlaying = !this.isPlaying;
    clearTimeout(this.timer);
    if (!this.isPlaying) return;
    if (this.index >= this.events.length - 1) this.go(0);
    this.next();
  }

  next() {
    const following = this.events[this.index + 1];
    if (!following) {
      this.isPlaying = false;
      return;
    }
    const gap = Math.max(MIN_GAP_S, Math.min(MAX_GAP_S, following.gap_s)) / this.speed;
    this.timer = setTimeout(() => {
      this.go(this.index + 1);
      this.next();
    }, gap * 1000);
  }

  button(icon, label, index) {
    return html`<button type="button" class="quiet square" aria-label=${label} ?disabled=${index < 0 || index >= this.events.length || index === this.index}
      @click=${() => this.go(index)}><et-icon name=${icon}></et-icon></button>`;
  }

  render() {
    const { events, index } = this;
    return html`<div class="card replay-bar">
      ${this.button("first", texts.first, 0)}${this.button("back", texts.previous, index - 1)}
      <button type="button" class="square" aria-label=${this.isPlaying ? texts.pause : texts.play} @click=${this.toggle}><et-icon name=${this.isPlaying ? "pause" : "play"}></et-icon></button>
      ${this.button("chevron", texts.next, index + 1)}${this.button("last", texts.last, events.length - 1)}
      <input type="range" min="0" max=${events.length - 1} step="1" .value=${String(index)} aria-label=${texts.slider}
        aria-valuetext=${`${events[index]?.version}: ${events[index]?.type}`} @input=${(event) => this.go(Number(event.target.value))} />
      <span class="small number">${texts.position(index + 1, events.length)}</span>
      <span class="small number faint wide-only">${clockTime(events[index]?.at)}</span>
      <button type="button" class="quiet" aria-label="${texts.speed}: ${this.speed}×" @click=${() => {
        this.speed = SPEEDS[(SPEEDS.indexOf(this.speed) + 1) % SPEEDS.length];
      }}>${this.speed}×</button>
    </div>`;
  }
}

define("et-replay-bar", ReplayBar);
