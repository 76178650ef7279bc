// A thread: its conversation, live, beside its runs and facts.

import { post, remove } from "../app/api.js";
import { assistantNames } from "../app/assistant-names.js";
import { define, html, nothing, View } from "../app/element.js";
import { href, navigate } from "../app/router.js";
import { canFork, canWrite } from "../app/session.js";
import { saveThread } from "../app/thread-download.js";
import { ThreadFeed } from "../app/thread-feed.js";
import { common } from "../messages/common.js";
import { thread as texts, threads } from "../messages/threads.js";
import { ask } from "../parts/confirm-dialog.js";
import "../parts/conversation.js";
import "../parts/fact-list.js";
import "../parts/run-list.js";

class ThreadPage extends View {
  static properties = { threadId: { attribute: false }, names: { state: true } };

  constructor() {
    super();
    this.names = {};
  }

  async load(isCurrent) {
    this.release();
    const feed = new ThreadFeed(this.threadId, () => this.requestUpdate());
    await feed.start();
    if (!isCurrent()) return feed.stop();
    this.feed = feed;
    this.names = await assistantNames([...feed.runs.values()].map((run) => run.assistant_id));
  }

  release() {
    this.feed?.stop();
  }

  async fork() {
    await this.act(async () => {
      const made = await post(`/v1/threads/${this.threadId}/fork`);
      navigate(href("playground", { thread: made.id }));
    });
  }

  async delete() {
    const isSure = await ask({ heading: texts.deleteHeading, text: threads.deleteText, action: common.delete, isDanger: true });
    if (!isSure) return;
    await this.act(async () => {
      await remove(`/v1/threads/${this.threadId}`);
      navigate(href("threads"));
    });
  }

  content() {
    const { feed } = this;
    const messages = [...feed.messages.values()];
    const runs = [...feed.runs.values()];
    return html`${feed.connection === "waiting" ? html`<p class="offline" role="status"><et-icon name="alert"></et-icon>${common.reconnecting}</p>` : nothing}
      <div class="columns">
        <et-conversation .messages=${messages} .runs=${runs} .stepsOf=${(id) => feed.stepsOf(id)} .streaming=${feed.streaming}
          .names=${this.names}></et-conversation>
        <aside class="facts">
          <section><h2>${texts.runs}</h2><et-run-list .runs=${[...runs].reverse()} .names=${this.names}></et-run-list></section>
          <section><h2>${texts.details}</h2>
            <et-facts .facts=${[
              [texts.id, html`<et-id .value=${feed.thread.id}></et-id>`],
              [texts.created, html`<et-time .value=${feed.thread.created_at}></et-time>`],
              ...Object.entries(feed.thread.metadata ?? {}),
            ]}></et-facts>
          </section>
        </aside>
      </div>`;
  }

  render() {
    const id = this.threadId;
    return html`<nav class="crumbs"><a href=${href("threads")}>${texts.all}</a><span>/</span><et-id .value=${id}></et-id></nav>
      <div class="head">
        <div class="title"><h1>${texts.title}</h1></div>
        <div class="actions">
          ${canWrite() ? html`<a class="button primary" href=${href("playground", { thread: id })}>${texts.continue}</a>` : nothing}
          <a class="button" href=${href("threads", id, "replay")}><et-icon name="replay"></et-icon>${texts.replay}</a>
          ${canFork() ? html`<button type="button" @click=${this.fork}><et-icon name="fork"></et-icon>${texts.fork}</button>` : nothing}
          <button type="button" @click=${() => this.act(() => saveThread(this.feed, "json"))}><et-icon name="download"></et-icon>${texts.asJson}</button>
          <button type="button" @click=${() => this.act(() => saveThread(this.feed, "markdown"))}>${texts.asMarkdown}</button>
          ${canWrite() ? html`<button type="button" class="danger" @click=${this.delete}>${common.delete}</button>` : nothing}
        </div>
      </div>
      ${this.whenLoaded(() => this.content())}`;
  }
}

define("et-thread", ThreadPage);
