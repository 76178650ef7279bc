// The runs of a thread, the newest first, each as a link.

import { define, Element, html } from "../app/element.js";
import { count } from "../app/format.js";
import { href } from "../app/router.js";
import { thread as texts } from "../messages/threads.js";
import "./status-badge.js";
import "./time-stamp.js";

class RunList extends Element {
  static properties = { runs: { attribute: false }, names: { attribute: false } };

  render() {
    if (!this.runs.length) return html`<p class="faint small">${texts.noRuns}</p>`;
    return html`<ul class="run-list">
      ${this.runs.map(
        (run) => html`<li><a href=${href("threads", run.thread_id, "runs", run.id)}>
          <span class="truncate">${this.names?.[run.assistant_id] ?? run.model}</span><et-status .status=${run.status}></et-status>
          <span class="faint tiny"><et-time .value=${run.created_at}></et-time></span>
          <span class="faint tiny number">${run.usage ? `${count(run.usage.total_tokens)} tokens` : ""}</span>
        </a></li>`,
      )}
    </ul>`;
  }
}

define("et-run-list", RunList);
