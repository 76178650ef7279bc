// Projects and their API keys, for keys with the scope `admin`.

import { list, post, remove } from "../app/api.js";
import { define, html, nothing, notify, View } from "../app/element.js";
import { count } from "../app/format.js";
import { setQuery } from "../app/router.js";
import { keys as texts } from "../messages/manage.js";
import { ask } from "../parts/confirm-dialog.js";
import "../parts/key-form.js";
import "../parts/secret-notice.js";

const PROJECTS = "/v1/organization/projects";
const INSTALLATION = "installation";

class Keys extends View {
  static properties = { query: { attribute: false }, projects: { state: true }, keys: { state: true }, secret: { state: true } };

  constructor() {
    super();
    this.query = {};
  }

  get projectId() {
    return this.query.project || "proj_default";
  }

  get path() {
    return `${PROJECTS}/${encodeURIComponent(this.projectId)}/api_keys`;
  }

  willUpdate(changes) {
    const now = JSON.stringify(this.query);
    if (changes.has("query") && this.asked !== undefined && this.asked !== now) this.reload();
    this.asked = now;
  }

  async load() {
    const query = { include_revoked: this.query.revoked ? "true" : "" };
    [this.projects, this.keys] = await Promise.all([list(PROJECTS), list(this.path, { query })]);
  }

  async createProject(event) {
    event.preventDefault();
    const name = event.target.elements.project.value.trim();
    await this.act(async () => {
      const made = await post(PROJECTS, { name });
      event.target.reset();
      setQuery({ project: made.id });
    });
  }

  async createKey(detail) {
    await this.act(async () => {
      this.secret = (await post(this.path, detail)).value;
      await this.load();
    });
  }

  async revoke(key) {
    if (!(await ask({ heading: texts.revokeHeading(key.name), text: texts.revokeText, action: texts.revoke, isDanger: true }))) return;
    await this.act(async () => {
      await remove(`${this.path}/${encodeURIComponent(key.id)}`);
      notify(texts.revoked);
      await this.load();
    });
  }

  row(key) {
    const limits = Object.entries(texts.limits).filter(([name]) => key[name] !== null && key[name] !== undefined);
    return html`<tr>
      <td><b>${key.name}</b><br /><et-id .value=${key.id}></et-id></td>
      <td><span class="tag">${key.scope}</span></td>
      <td class="mono tiny wide-only">${key.redacted_value}</td>
      <td class="small wide-only">${limits.length ? limits.map(([name, text]) => html`${count(key[name])} ${text.toLowerCase()}<br />`) : html`<span class="faint">${texts.noLimit}</span>`}</td>
      <td class="right">${key.last_used_at ? html`<et-time .value=${key.last_used_at}></et-time>` : html`<span class="faint">${texts.never}</span>`}</td>
      <td class="right">${key.revoked_at ? html`<et-status status="disabled"></et-status>` : html`<button type="button" class="danger" @click=${() => this.revoke(key)}>${texts.revoke}</button>`}</td>
    </tr>`;
  }

  content() {
    const { columns } = texts;
    return html`${this.secret ? html`<et-secret .secret=${this.secret} text=${texts.shownOnce} action=${texts.dismiss} @dismiss=${() => {
        this.secret = null;
      }}></et-secret>` : nothing}
      <section class="card block"><h2>${texts.newKey}</h2><et-key-form .isInstallation=${this.projectId === INSTALLATION} @create-key=${(event) => this.createKey(event.detail)}></et-key-form></section>
      ${
        this.keys.length
          ? html`<section class="card block"><table>
              <thead><tr><th>${columns.name}</th><th>${columns.scope}</th><th class="wide-only">${columns.key}</th><th class="wide-only">${columns.limits}</th><th class="right">${columns.used}</th><th></th></tr></thead>
              <tbody>${this.keys.map((key) => this.row(key))}</tbody></table></section>`
          : html`<et-empty icon="keys" heading=${texts.empty} text=${texts.emptyText}></et-empty>`
      }`;
  }

  render() {
    return html`<div class="head"><div class="title"><h1>${texts.title}</h1><p>${texts.text}</p></div></div>
      ${this.whenLoaded(
        () => html`<div class="inline-form">
          <label class="grow"><span class="tiny faint">${texts.project}</span><select @change=${(event) => setQuery({ project: event.target.value })}>
            ${this.projects.map((one) => html`<option value=${one.id} ?selected=${one.id === this.projectId}>${one.name}</option>`)}
            <option value=${INSTALLATION} ?selected=${this.projectId === INSTALLATION}>${texts.installation}</option></select></label>
          <label class="check"><input type="checkbox" .checked=${Boolean(this.query.revoked)} @change=${(event) => setQuery({ revoked: event.target.checked ? "1" : "" })} /> ${texts.showRevoked}</label>
          <form class="inline-form" @submit=${this.createProject}><label><span class="tiny faint">${texts.newProject}</span><input name="project" required maxlength="256" placeholder=${texts.projectName} /></label><button type="submit">${texts.create}</button></form>
        </div>${this.content()}`,
      )}`;
  }
}

define("et-keys", Keys);
