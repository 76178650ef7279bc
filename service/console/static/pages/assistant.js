// An assistant: its settings, and the history of its changes from its events.

import { get, post, remove, withQuery } from "../app/api.js";
import { forgetName } from "../app/assistant-names.js";
import { define, html, nothing, notify, View } from "../app/element.js";
import { href, navigate, setQuery } from "../app/router.js";
import { canWrite } from "../app/session.js";
import { assistants as texts, form, history } from "../messages/assistants.js";
import { common } from "../messages/common.js";
import "../parts/assistant-form.js";
import "../parts/change-list.js";
import { ask } from "../parts/confirm-dialog.js";
import "../parts/view-tabs.js";

const PAGE = 100;
const SETTINGS = ["name", "description", "instructions", "model", "tools", "tool_resources", "metadata", "temperature", "top_p", "response_format", "reasoning_effort"];

const settingsOf = (assistant) => Object.fromEntries(SETTINGS.map((name) => [name, assistant[name]]).filter(([, value]) => value !== undefined));

class AssistantPage extends View {
  static properties = { assistantId: { attribute: false }, query: { attribute: false }, assistant: { state: true }, versions: { state: true } };

  constructor() {
    super();
    this.query = {};
  }

  get isNew() {
    return this.assistantId === "new";
  }

  get path() {
    return `/v1/assistants/${encodeURIComponent(this.assistantId)}`;
  }

  async load() {
    const models = await get("/v1/models").catch(() => ({ data: [] }));
    this.models = models.data.map((model) => model.id);
    this.assistant = this.isNew ? { model: this.models[0] ?? "", tools: [] } : await get(this.path);
    if (!this.isNew) this.versions = await this.readVersions();
  }

  /** Returns the versions of the assistant as the API showed them, the newest first. */
  async readVersions() {
    const { data } = await get(withQuery(`${this.path}/versions`, { limit: PAGE }));
    const states = await Promise.all(data.map(({ version }) => get(withQuery(this.path, { at: version })).catch(() => ({}))));
    return data.map((entry, index) => ({ ...entry, before: settingsOf(states[index + 1] ?? {}), after: settingsOf(states[index]) }));
  }

  async save(body) {
    await this.act(async () => {
      const saved = await post(this.isNew ? "/v1/assistants" : this.path, body);
      forgetName(saved.id);
      notify(form.saved);
      if (this.isNew) navigate(href("assistants", saved.id), { replace: true });
      else await this.reload();
    });
  }

  async restore(version) {
    await this.act(async () => {
      await post(`${this.path}/restore`, { version });
      forgetName(this.assistantId);
      notify(history.restored);
      await this.reload();
    });
  }

  async delete() {
    if (!(await ask({ heading: texts.deleteHeading, text: texts.deleteText, action: common.delete, isDanger: true }))) return;
    await this.act(async () => {
      await remove(this.path);
      navigate(href("assistants"));
    });
  }

  content() {
    const view = this.query.view === "history" ? "history" : "settings";
    const tabs = this.isNew ? nothing : html`<et-view-tabs label=${texts.tabsLabel} .views=${texts.tabs} .current=${view} @view=${(event) => setQuery({ view: event.detail })}></et-view-tabs>`;
    if (view === "settings") return html`${tabs}<et-assistant-form .assistant=${this.assistant} .models=${this.models} @save-assistant=${(event) => this.save(event.detail)}></et-assistant-form>`;
    return html`${tabs}<et-change-list .versions=${this.versions} @restore-version=${(event) => this.restore(event.detail)}></et-change-list>`;
  }

  render() {
    const title = this.isNew ? texts.new : (this.assistant?.name ?? common.unnamed);
    return html`<nav class="crumbs"><a href=${href("assistants")}>${texts.all}</a>${this.isNew ? nothing : html`<span>/</span><et-id .value=${this.assistantId}></et-id>`}</nav>
      <div class="head"><div class="title"><h1>${title}</h1></div><div class="actions">
        ${!this.isNew && canWrite() ? html`<a class="button primary" href=${href("playground", { assistant: this.assistantId })}>${texts.tryIt}</a><button type="button" class="danger" @click=${this.delete}>${common.delete}</button>` : nothing}
      </div></div>${this.whenLoaded(() => this.content())}`;
  }
}

define("et-assistant", AssistantPage);
