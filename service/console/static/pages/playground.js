// The playground: a conversation with an assistant, live; an edited message is answered on a fork beside it.

import { get, list, post } from "../app/api.js";
import { assistantNames } from "../app/assistant-names.js";
import { curlSample, pythonSample } from "../app/code-samples.js";
import { define, html, nothing, notify, View } from "../app/element.js";
import { href, setQuery } from "../app/router.js";
import { canWrite } from "../app/session.js";
import { ThreadFeed } from "../app/thread-feed.js";
import { common } from "../messages/common.js";
import { playground as texts } from "../messages/playground.js";
import { thread as threadTexts } from "../messages/threads.js";
import "../parts/conversation.js";
import { edit } from "../parts/edit-dialog.js";
import "../parts/message-composer.js";
import "../parts/run-settings.js";

class Playground extends View {
  static properties = { query: { attribute: false }, settings: { state: true }, names: { state: true } };

  constructor() {
    super();
    this.query = {};
    this.settings = {};
    this.names = {};
    this.feeds = new Map();
  }

  async load() {
    const [assistants, models] = await Promise.all([
      list("/v1/assistants", { query: { order: "desc" } }),
      get("/v1/models").catch(() => ({ data: [] })),
    ]);
    this.assistants = assistants;
    this.models = models.data.map((model) => model.id);
    this.settings = { assistant: this.query.assistant ?? assistants[0]?.id, ...(await this.like()) };
    this.names = await assistantNames(assistants.map((one) => one.id));
    await this.follow();
    const last = [...(this.feed?.runs.values() ?? [])].at(-1);
    if (last && !this.query.assistant && !this.query.like) this.settings = { ...this.settings, assistant: last.assistant_id };
  }

  /** Returns the settings of the run that the URL names as an example. */
  async like() {
    const [threadId, runId] = (this.query.like ?? "").split("/");
    if (!runId) return {};
    const run = await get(`/v1/threads/${encodeURIComponent(threadId)}/runs/${encodeURIComponent(runId)}`);
    return { assistant: run.assistant_id, model: run.model, temperature: run.temperature ?? "" };
  }

  release() {
    for (const feed of this.feeds.values()) feed.stop();
    this.feeds.clear();
  }

  updated(changes) {
    if (changes.has("query") && !this.isLoading) this.act(() => this.follow());
    const end = this.querySelector(".talk-end");
    if (this.feed?.streaming.size && this.isAtEnd()) end?.scrollIntoView({ block: "end" });
  }

  isAtEnd() {
    const page = document.documentElement;
    return page.scrollHeight - page.scrollTop - page.clientHeight < 160;
  }

  /** Follows the threads that the URL names, and no others. */
  async follow() {
    const wanted = [this.query.thread, this.query.beside].filter(Boolean);
    for (const [id, feed] of this.feeds) {
      if (wanted.includes(id)) continue;
      feed.stop();
      this.feeds.delete(id);
    }
    await Promise.all(wanted.map((id) => this.feedOf(id)));
    this.requestUpdate();
  }

  /** Returns the feed of a thread when it follows the thread, so that a run that begins now is seen whole. */
  async feedOf(id) {
    if (!this.feeds.has(id)) {
      const feed = new ThreadFeed(id, () => this.requestUpdate());
      feed.started = feed.start();
      this.feeds.set(id, feed);
    }
    const feed = this.feeds.get(id);
    await feed.started;
    return feed;
  }

  get feed() {
    return this.feeds.get(this.query.thread);
  }

  options() {
    const { model, temperature, extra } = this.settings;
    return {
      ...(model ? { model } : {}),
      ...(temperature !== undefined && temperature !== "" ? { temperature: Number(temperature) } : {}),
      ...(extra ? { additional_instructions: extra } : {}),
    };
  }

  async run(threadId) {
    await post(`/v1/threads/${threadId}/runs`, { assistant_id: this.settings.assistant, ...this.options() });
  }

  /** Sends a message and starts a run, in a new thread if there is none. */
  async send({ text, attachments }) {
    await this.act(async () => {
      const message = { role: "user", content: text, ...(attachments.length ? { attachments } : {}) };
      let id = this.query.thread;
      if (id) this.feed.keepMessage(await post(`/v1/threads/${id}/messages`, message));
      else {
        id = (await post("/v1/threads", { messages: [message] })).id;
        await this.feedOf(id);
        setQuery({ thread: id, assistant: this.settings.assistant, like: "" }, { replace: false });
      }
      await this.run(id);
      scrollTo(0, document.documentElement.scrollHeight);
    });
  }

  /** Answers an edited message on a fork that ends before it. */
  async editMessage(message) {
    const value = message.content.map((part) => part.text?.value ?? "").join("\n");
    const text = await edit({ heading: texts.editHeading, text: texts.editText, value, action: texts.rerun });
    if (text === null || !text.trim()) return;
    await this.act(async () => {
      const messages = [...this.feed.messages.values()];
      const before = messages[messages.findIndex((one) => one.id === message.id) - 1];
      const fork = before ? await post(`/v1/threads/${this.query.thread}/fork`, { at: before.id }) : await post("/v1/threads");
      await post(`/v1/threads/${fork.id}/messages`, { role: "user", content: text });
      await this.feedOf(fork.id);
      setQuery({ beside: fork.id }, { replace: false });
      await this.run(fork.id);
    });
  }

  async cancel() {
    const run = this.feed?.activeRun;
    if (run) await this.act(() => post(`/v1/threads/${run.thread_id}/runs/${run.id}/cancel`));
  }

  async copy(sample) {
    const text = this.querySelector("textarea")?.value || "Hello";
    const base = `${location.origin}/v1`;
    const facts = { base, threadId: this.query.thread, assistantId: this.settings.assistant, text, options: this.options() };
    await navigator.clipboard.writeText(sample(facts));
    notify(common.copied);
  }

  conversation(feed) {
    const canEdit = (message) => message.role === "user" && canWrite() && feed === this.feed;
    return html`<et-conversation .messages=${[...feed.messages.values()]} .runs=${[...feed.runs.values()]} .stepsOf=${(id) => feed.stepsOf(id)}
      .streaming=${feed.streaming} .names=${this.names}
      .actionsOf=${(message) => (canEdit(message) ? html`<button type="button" class="quiet" @click=${() => this.editMessage(message)}><et-icon name="edit"></et-icon>${texts.edit}</button>` : nothing)}></et-conversation>`;
  }

  talk() {
    const beside = this.feeds.get(this.query.beside);
    if (!this.feed) return html`<et-empty icon="playground" heading=${threadTexts.empty} text=${threadTexts.emptyText}></et-empty>`;
    if (!beside) return this.conversation(this.feed);
    return html`<div class="beside">
      <section><h2>${texts.original}</h2>${this.conversation(this.feed)}</section>
      <section><h2>${texts.beside} <button type="button" class="quiet square" aria-label=${texts.closeBeside} @click=${() => setQuery({ beside: "" })}><et-icon name="close"></et-icon></button>
        <a class="small" href=${href("playground", { thread: this.query.beside })}>${common.open}</a></h2>${this.conversation(beside)}</section>
    </div>`;
  }

  content() {
    if (!this.assistants.length) return html`<et-empty icon="assistants" heading=${texts.noAssistants} text=${texts.noAssistantsText} href=${href("assistants", "new")} action=${texts.noAssistantsAction}></et-empty>`;
    const isBroken = [...this.feeds.values()].some((feed) => feed.connection === "waiting" && feed.hasBeenOpen);
    return html`${isBroken ? html`<p class="offline" role="status"><et-icon name="alert"></et-icon>${common.reconnecting}</p>` : nothing}
      <div class="columns">
        <div class="talk">${this.talk()}<div class="talk-end"></div>
          ${canWrite() ? html`<et-composer .isActive=${Boolean(this.feed?.activeRun)} .isDisabled=${!this.settings.assistant}
            @send-message=${(event) => this.send(event.detail)} @cancel-run=${this.cancel}></et-composer>` : nothing}</div>
        <aside class="facts"><et-run-settings .assistants=${this.assistants} .models=${this.models} .settings=${this.settings}
          @change-settings=${(event) => {
            this.settings = { ...this.settings, ...event.detail };
          }}></et-run-settings></aside>
      </div>`;
  }

  render() {
    const { thread } = this.query;
    return html`<div class="head"><div class="title"><h1>${texts.title}</h1></div><div class="actions">
        ${thread ? html`<a class="button" href=${href("playground", { assistant: this.settings.assistant })}><et-icon name="plus"></et-icon>${texts.newThread}</a>
          <a class="button" href=${href("threads", thread)}>${texts.openThread}</a>` : nothing}
        <details class="menu"><summary class="button"><et-icon name="copy"></et-icon>${texts.copyCode}</summary><div class="menu-body">
          <button type="button" class="quiet" @click=${() => this.copy(pythonSample)}>${texts.python}</button>
          <button type="button" class="quiet" @click=${() => this.copy(curlSample)}>${texts.curl}</button></div></details>
      </div></div>
      ${this.whenLoaded(() => this.content())}`;
  }
}

define("et-playground", Playground);
