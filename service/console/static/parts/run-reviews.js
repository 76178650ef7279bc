// The ratings and notes of a run, and a form that adds one.

import { get, post, withQuery } from "../app/api.js";
import { define, Element, html, notify, nothing } from "../app/element.js";
import { canWrite } from "../app/session.js";
import { reviews as texts } from "../messages/run.js";

const PAGE = 100;
const MAX_NOTE = 4096;

class RunReviews extends Element {
  static properties = { path: {}, found: { state: true }, rating: { state: true }, isBusy: { state: true } };

  constructor() {
    super();
    this.found = [];
    this.rating = null;
  }

  willUpdate(changes) {
    if (changes.has("path") && this.path) this.load();
  }

  async load() {
    const { path } = this;
    const page = await get(withQuery(`${path}/reviews`, { limit: PAGE })).catch(() => ({ data: [] }));
    if (path === this.path) this.found = page.data;
  }

  async submit(event) {
    event.preventDefault();
    const field = event.target.querySelector("textarea");
    const note = field.value.trim() || undefined;
    if (!note && !this.rating) return;
    this.isBusy = true;
    try {
      const made = await post(`${this.path}/reviews`, { rating: this.rating ?? undefined, note });
      this.found = [...this.found, made];
      this.rating = null;
      field.value = "";
    } catch (error) {
      notify(error.message, error.requestId);
    }
    this.isBusy = false;
  }

  choice(rating) {
    return html`<button type="button" aria-pressed=${this.rating === rating} @click=${() => {
      this.rating = this.rating === rating ? null : rating;
    }}>${texts[rating]}</button>`;
  }

  render() {
    if (!canWrite() && !this.found.length) return nothing;
    return html`<section class="card block" aria-label=${texts.heading}><h2>${texts.heading}</h2>
      ${this.found.map(
        (one) => html`<p class="review">${one.rating ? html`<b class="tag">${texts[one.rating]}</b>` : nothing}
          <span>${one.note ?? ""}</span> <span class="tiny faint">${one.actor} · <et-time .value=${one.created_at}></et-time></span></p>`,
      )}
      ${
        canWrite()
          ? html`<form class="review-form" @submit=${this.submit}>
              <div class="inline-row" role="group" aria-label=${texts.rating}>${this.choice("good")}${this.choice("bad")}</div>
              <textarea rows="2" maxlength=${MAX_NOTE} aria-label=${texts.note} placeholder=${texts.note}></textarea>
              <button type="submit" ?disabled=${this.isBusy}>${texts.add}</button>
            </form>`
          : nothing
      }</section>`;
  }
}

define("et-reviews", RunReviews);
