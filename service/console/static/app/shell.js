// The frame: side bar, the current view, the command palette and notices. Shows the sign-in if nobody is signed in.

import { common, nav } from "../messages/common.js";
import "../pages/sign-in.js";
import "../parts/command-palette.js";
import "../parts/empty-state.js";
import "../parts/error-notice.js";
import "../parts/icon.js";
import "../parts/id-chip.js";
import "../parts/loading-lines.js";
import "../parts/notices.js";
import "../parts/status-badge.js";
import "../parts/time-stamp.js";
import { define, Element, html, nothing } from "./element.js";
import { href, match } from "./router.js";
import { restore, session, signIn, signOut, takeLink } from "./session.js";
import { setTheme, theme } from "./theme.js";
import { GROUPS } from "./views.js";

const ASSETS = new URL("../", import.meta.url).pathname;
const THEMES = ["system", "light", "dark"];

class App extends Element {
  static properties = {
    found: { state: true },
    isReady: { state: true },
    isOpen: { state: true },
    failure: { state: true },
    isOver: { state: true },
    theme: { state: true },
  };

  constructor() {
    super();
    this.isOpen = false;
    this.theme = theme();
  }

  connectedCallback() {
    super.connectedCallback();
    addEventListener("et-navigated", () => this.show());
    addEventListener("et-signed-out", () => this.lose());
    addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.isOpen = false;
    });
    this.begin();
  }

  /** Begins the session of a link, or goes on with the one that the browser has. */
  async begin() {
    this.failure = null;
    const link = takeLink();
    try {
      if (link) await signIn({ link });
    } catch (error) {
      this.linkError = error;
    }
    try {
      if (!session()) await restore();
      this.isReady = true;
      await this.show();
    } catch (error) {
      this.failure = error;
    }
  }

  /** Shows the sign-in in place of a view whose session has ended. */
  lose() {
    if (!this.isReady || !session()) return;
    this.isOver = true;
    this.requestUpdate();
  }

  async show() {
    const found = match();
    this.isOpen = false;
    if (found) await found.route.load();
    const isSameView = this.found?.route === found?.route;
    this.found = found;
    if (!isSameView) {
      scrollTo(0, 0);
      await this.updateComplete;
      document.title = `${nav[found?.route.nav] ?? common.product} · ${common.product}`;
    }
  }

  async welcome() {
    this.isOver = false;
    this.requestUpdate();
    await this.show();
  }

  async leave() {
    await signOut().catch(() => {});
    this.found = undefined;
    this.requestUpdate();
  }

  nextTheme() {
    this.theme = THEMES[(THEMES.indexOf(this.theme) + 1) % THEMES.length];
    setTheme(this.theme);
  }

  openPalette() {
    this.querySelector("et-palette").open();
  }

  brand() {
    return html`<a class="brand" href=${href()}><img src="${ASSETS}icon.svg" alt="" />${common.product}</a>`;
  }

  side() {
    const { scope, project_id: project } = session();
    return html`<nav class="side" aria-label=${nav.label} ?data-open=${this.isOpen}>
      ${this.brand()}
      <button class="find" type="button" @click=${this.openPalette}>
        <et-icon name="search"></et-icon>${nav.find}<kbd>⌘K</kbd>
      </button>
      ${GROUPS.map(([heading, entries]) => this.group(heading, entries.filter(([, isShown]) => isShown())))}
      <div class="foot">
        <button class="quiet" type="button" @click=${this.nextTheme}>
          <et-icon name=${this.theme === "dark" ? "moon" : "sun"}></et-icon>${nav.theme[this.theme]}
        </button>
        <button class="quiet" type="button" @click=${this.leave}><et-icon name="out"></et-icon>${nav.signOut}</button>
        <p class="who">${nav.who(scope, project).map((line) => html`<span class="truncate" title=${line}>${line}</span><br />`)}</p>
      </div>
    </nav>`;
  }

  group(heading, entries) {
    if (!entries.length) return nothing;
    return html`${heading ? html`<h2>${heading}</h2>` : nothing}
      ${entries.map(([name]) => {
        const isCurrent = this.found?.route.nav === name;
        return html`<a class="item" href=${href(name)} aria-current=${isCurrent ? "page" : "false"}>
          <et-icon name=${name}></et-icon>${nav[name]}
        </a>`;
      })}`;
  }

  view() {
    if (this.found === undefined) return html`<et-loading></et-loading>`;
    if (this.found === null) return html`<et-empty icon="search" heading=${nav.notFound} text=${nav.notFoundText}></et-empty>`;
    const { route, parameters, query } = this.found;
    if (this.element?.localName !== route.tag || this.element.address !== JSON.stringify(parameters)) {
      this.element = document.createElement(route.tag);
      this.element.address = JSON.stringify(parameters);
      this.element.className = "page";
    }
    Object.assign(this.element, parameters, { query });
    return this.element;
  }

  render() {
    if (this.failure) return html`<main class="place"><et-error .error=${this.failure} @retry=${this.begin}></et-error></main>`;
    if (!this.isReady) return html`<main class="place"><et-loading></et-loading></main>`;
    if (!session() || this.isOver) {
      return html`<et-sign-in .isOver=${this.isOver} .failure=${this.linkError} @signed-in=${this.welcome}></et-sign-in>`;
    }
    return html`<a class="visually-hidden" href="#place">${nav.skip}</a>
      <header class="top">
        <button class="quiet square" type="button" aria-label=${nav.menu} @click=${() => {
          this.isOpen = true;
        }}><et-icon name="menu"></et-icon></button>
        ${this.brand()}<span class="spacer"></span>
        <button class="quiet square" type="button" aria-label=${nav.find} @click=${this.openPalette}><et-icon name="search"></et-icon></button>
      </header>
      <div class="shell">
        ${this.side()}
        <button class="veil" type="button" aria-label=${common.close} @click=${() => {
          this.isOpen = false;
        }}></button>
        <main class="place" id="place">${this.view()}</main>
      </div>
      <et-palette></et-palette><et-notices></et-notices>`;
  }
}

define("et-app", App);
