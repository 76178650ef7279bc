// The assistants of the project.

import { list } from "../app/api.js";
import { define, html, nothing, View } from "../app/element.js";
import { oneLine } from "../app/format.js";
import { href } from "../app/router.js";
import { canWrite } from "../app/session.js";
import { common } from "../messages/common.js";
import { assistants as texts } from "../messages/assistants.js";

const toolName = (tool) => tool.function?.name ?? tool.type.replace("_", " ");

class Assistants extends View {
  async load() {
    this.found = await list("/v1/assistants", { query: { order: "desc" }, most: 1000 });
  }

  row(assistant) {
    return html`<a class="row" href=${href("assistants", assistant.id)}>
      <span class="truncate"><b>${assistant.name ?? common.unnamed}</b><br /><span class="small faint">${oneLine(assistant.description ?? assistant.instructions ?? texts.noInstructions, 100)}</span></span>
      <span class="tags wide-only">${assistant.tools.slice(0, 3).map((tool) => html`<span class="tag truncate">${toolName(tool)}</span>`)}</span>
      <span class="mono small truncate wide-only">${assistant.model}</span>
      <span class="small faint"><et-time .value=${assistant.created_at}></et-time></span>
    </a>`;
  }

  render() {
    const create = canWrite() ? html`<a class="button primary" href=${href("assistants", "new")}><et-icon name="plus"></et-icon>${texts.new}</a>` : nothing;
    return html`<div class="head"><div class="title"><h1>${texts.title}</h1><p>${texts.text}</p></div><div class="actions">${create}</div></div>
      ${this.whenLoaded(() =>
        this.found.length
          ? html`<div class="card rows" role="list" aria-label=${texts.list}>${this.found.map((one) => html`<div role="listitem">${this.row(one)}</div>`)}</div>`
          : html`<et-empty icon="assistants" heading=${texts.empty} text=${texts.emptyText} href=${canWrite() ? href("assistants", "new") : ""} action=${texts.new}></et-empty>`,
      )}`;
  }
}

define("et-assistants", Assistants);
