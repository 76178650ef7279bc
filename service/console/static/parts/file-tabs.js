// The head of the lists of files and of vector stores, with the tabs between them.

import { html, nothing } from "../app/element.js";
import { href, navigate } from "../app/router.js";
import { files as texts } from "../messages/files.js";
import "./view-tabs.js";

export const fileHead = (current, actions = nothing) =>
  html`<div class="head"><div class="title"><h1>${texts.title}</h1><p>${texts.text}</p></div><div class="actions">${actions}</div></div>
    <et-view-tabs label=${texts.tabsLabel} .views=${texts.tabs} .current=${current} @view=${(event) => navigate(href(event.detail))}></et-view-tabs>`;
