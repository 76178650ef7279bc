// The command palette: views, commands, and any id to open. Ctrl-K or ⌘K opens it.

import { define, Element, html } from "../app/element.js";
import { href, navigate } from "../app/router.js";
import { canRead, canWrite } from "../app/session.js";
import { setTheme } from "../app/theme.js";
import { visibleViews } from "../app/views.js";
import { nav, palette } from "../messages/common.js";
import "./icon.js";

const OPENS = [
  [/^thread_\w+$/, (id) => href("threads", id)],
  [/^asst_\w+$/, (id) => href("assistants", id)],
  [/^file-\w+$/, (id) => href("files", id)],
  [/^vs_\w+$/, (id) => href("stores", id)],
  [/^req_\w+$/, (id) => href("audit", { request: id })],
];

function commands() {
  return [
    ...visibleViews().map((name) => [name, nav[name], () => navigate(href(name))]),
    ...(canWrite() ? [["plus", palette.newThread, () => navigate(href("playground"))]] : []),
    ...(canWrite() ? [["plus", palette.newAssistant, () => navigate(href("assistants", "new"))]] : []),
    ...Object.entries(nav.theme).map(([name, text]) => ["sun", palette.theme(text), () => setTheme(name)]),
  ];
}

class CommandPalette extends Element {
  static properties = { text: { state: true }, chosen: { state: true } };

  constructor() {
    super();
    this.text = "";
    this.chosen = 0;
    this.onKey = (event) => {
      if (event.key.toLowerCase() !== "k" || !(event.metaKey || event.ctrlKey)) return;
      event.preventDefault();
      this.open();
    };
  }

  connectedCallback() {
    super.connectedCallback();
    addEventListener("keydown", this.onKey);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    removeEventListener("keydown", this.onKey);
  }

  async open() {
    this.text = "";
    this.chosen = 0;
    await this.updateComplete;
    this.querySelector("dialog").showModal();
    this.querySelector("input").value = "";
    this.querySelector("input").focus();
  }

  matches() {
    const words = this.text.trim().toLowerCase();
    const found = commands().filter(([, text]) => text.toLowerCase().includes(words));
    const given = this.text.trim();
    const open = OPENS.find(([pattern]) => pattern.test(given));
    if (open) return [["external", palette.openId(given), () => navigate(open[1](given))], ...found];
    if (!given || !canRead()) return found;
    return [...found, ["search", palette.search(given), () => navigate(href("threads", { query: given }))]];
  }

  pressed(event, found) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && found.length) {
      event.preventDefault();
      this.chosen = (this.chosen + step + found.length) % found.length;
    } else if (event.key === "Enter" && found.length) {
      event.preventDefault();
      this.carryOut(found[Math.min(this.chosen, found.length - 1)]);
    }
  }

  carryOut([, , act]) {
    this.querySelector("dialog").close();
    act();
  }

  render() {
    const found = this.matches();
    return html`<dialog class="palette" aria-label=${palette.label} @click=${(event) => event.target.localName === "dialog" && event.target.close()}>
      <input type="text" role="combobox" aria-expanded="true" aria-controls="palette-list" autocomplete="off" spellcheck="false"
        aria-label=${palette.placeholder} placeholder=${palette.placeholder} aria-activedescendant="palette-${this.chosen}"
        @input=${(event) => {
          this.text = event.target.value;
          this.chosen = 0;
        }} @keydown=${(event) => this.pressed(event, found)} />
      <ul id="palette-list" role="listbox" aria-label=${palette.label}>
        ${found.map(
          (command, at) => html`<li role="option" id="palette-${at}" aria-selected=${at === this.chosen} @click=${() => this.carryOut(command)}>
            <et-icon name=${command[0]}></et-icon>${command[1]}
          </li>`,
        )}
      </ul>
      ${found.length ? "" : html`<p class="faint small">${palette.empty}</p>`}
    </dialog>`;
  }
}

define("et-palette", CommandPalette);
