// Views that the person has saved in this browser: a name and the filters of the URL.

import { define, Element, html, nothing } from "../app/element.js";
import { href, navigate } from "../app/router.js";
import { threads as texts } from "../messages/threads.js";

const KEY = "everthread-thread-views";
const MOST = 50;

function read() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? [];
  } catch {
    return [];
  }
}

class SavedViews extends Element {
  static properties = { query: { attribute: false }, views: { state: true } };

  constructor() {
    super();
    this.views = read();
  }

  keep(views) {
    this.views = views.slice(-MOST);
    localStorage.setItem(KEY, JSON.stringify(this.views));
  }

  save(event) {
    event.preventDefault();
    const field = event.target.querySelector("input");
    const name = field.value.trim();
    if (!name) return;
    this.keep([...this.views.filter((view) => view.name !== name), { name, query: this.query }]);
    field.value = "";
  }

  render() {
    return html`<details class="menu">
      <summary class="button">${texts.views}</summary>
      <div class="menu-body">
        ${this.views.map(
          ({ name, query }) => html`<div class="menu-row">
            <button type="button" class="quiet truncate" @click=${() => navigate(href("threads", query))}>${name}</button>
            <button type="button" class="quiet square" aria-label=${texts.removeView(name)}
              @click=${() => this.keep(this.views.filter((view) => view.name !== name))}><et-icon name="close"></et-icon></button>
          </div>`,
        )}
        ${
          Object.keys(this.query ?? {}).length
            ? html`<form class="menu-row" @submit=${this.save}>
                <input type="text" aria-label=${texts.viewName} placeholder=${texts.viewName} maxlength="60" />
                <button type="submit">${texts.saveView}</button>
              </form>`
            : html`<p class="tiny faint">${texts.noMatchText && this.views.length ? nothing : texts.saveView}</p>`
        }
      </div>
    </details>`;
  }
}

define("et-saved-views", SavedViews);
