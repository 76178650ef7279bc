// The causes of failures, the most frequent first, each with its newest example.

import { define, Element, html } from "../app/element.js";
import { count } from "../app/format.js";
import { href } from "../app/router.js";
import { overview as texts } from "../messages/overview.js";

class FailureTable extends Element {
  static properties = { failures: { attribute: false } };

  row({ status, cause, num_runs: runs, model, example }) {
    return html`<tr>
      <td><et-status .status=${status}></et-status> <span class="mono">${cause}</span></td>
      <td class="mono wide-only">${model}</td>
      <td class="right">${count(runs)}</td>
      <td class="right"><et-time .value=${example.ended_at}></et-time> · <a href=${href("threads", example.thread_id, "runs", example.run_id)}>${texts.openExample}</a></td>
    </tr>`;
  }

  render() {
    const columns = texts.failureColumns;
    return html`<section class="card block"><h2>${texts.failures}</h2>
      ${
        this.failures.length
          ? html`<table><thead><tr><th>${columns.cause}</th><th class="wide-only">${columns.model}</th><th class="right">${columns.runs}</th><th class="right">${columns.example}</th></tr></thead>
              <tbody>${this.failures.map((one) => this.row(one))}</tbody></table>`
          : html`<p class="faint">${texts.noFailures}</p>`
      }
    </section>`;
  }
}

define("et-failure-table", FailureTable);
