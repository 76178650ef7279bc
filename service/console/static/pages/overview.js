// What the runs of the project do now, and how they ended: numbers, plots, costs and failures.

import { define, html, nothing, View } from "../app/element.js";
import { count, dollars, duration } from "../app/format.js";
import { RANGES, readReports, total, valuesOf } from "../app/reports.js";
import { href, setQuery } from "../app/router.js";
import { canWrite } from "../app/session.js";
import { statuses } from "../messages/common.js";
import { overview as texts } from "../messages/overview.js";
import "../parts/fact-list.js";
import "../parts/failure-table.js";
import "../parts/plot-card.js";
import "../parts/view-tabs.js";

const REFRESH_MS = 5000;
const RECENT_BUCKETS = 5;
const OTHERWISE = ["failed", "expired", "incomplete"];

const tokensOf = (models) => models.reduce((sum, one) => sum + one.input + one.output, 0);
const dollarsOf = (costs) => [...costs.values()].reduce((sum, value) => sum + value, 0);

class Overview extends View {
  static properties = { query: { attribute: false }, found: { state: true } };

  constructor() {
    super();
    this.query = {};
  }

  connectedCallback() {
    super.connectedCallback();
    this.timer = setInterval(() => this.refresh(), REFRESH_MS);
  }

  release() {
    clearInterval(this.timer);
  }

  get range() {
    return this.query.range in RANGES ? this.query.range : "day";
  }

  willUpdate() {
    if (this.asked !== undefined && this.asked !== this.range) this.reload();
    this.asked = this.range;
  }

  async load(isCurrent) {
    const found = await readReports(this.range);
    if (isCurrent()) this.found = found;
  }

  async refresh() {
    if (document.hidden || this.isBusy || this.isLoading || this.error) return;
    const range = this.range;
    this.isBusy = true;
    try {
      const found = await readReports(range);
      if (range === this.range) this.found = found;
    } catch {
      // The next refresh tries again.
    }
    this.isBusy = false;
  }

  numbers() {
    const { active, buckets, models, costs } = this.found;
    const { bucket_s: bucket } = RANGES[this.range];
    const recent = buckets.slice(-RECENT_BUCKETS);
    const perMinute = total(recent, "num_runs") / ((recent.length * bucket) / 60);
    const newest = buckets.findLast((one) => one.results[0]?.run_ms)?.results[0].run_ms;
    const now = Object.entries(active).filter(([, number]) => number);
    return [
      [texts.active, now.length ? now.map(([status, number]) => html`<span class="now"><b>${count(number)}</b> ${statuses[status]}</span>`) : "0"],
      [texts.perMinute, perMinute.toFixed(perMinute < 10 ? 1 : 0)],
      [texts.median, newest ? duration(newest.p50 / 1000) : "–"],
      [texts.slow, newest ? duration(newest.p95 / 1000) : "–"],
      [texts.tokens, count(tokensOf(models))],
      [texts.cost, dollars(dollarsOf(costs))],
    ];
  }

  plots() {
    const { buckets } = this.found;
    const times = buckets.map((bucket) => bucket.start_time);
    const ended = [
      { label: texts.completed, colour: "good", isFilled: true, values: valuesOf(buckets, (one) => one.completed, 0) },
      { label: texts.otherwise, colour: "bad", values: valuesOf(buckets, (one) => OTHERWISE.reduce((sum, name) => sum + one[name], 0), 0) },
    ];
    const percentiles = Object.entries(texts.percentiles).map(([name, label], at) => ({
      label,
      colour: ["accent", "tool", "warn"][at],
      values: valuesOf(buckets, (one) => (one.run_ms ? one.run_ms[name] / 1000 : null), null),
    }));
    return html`<div class="halves">
      <et-plot-card heading=${texts.runs} .times=${times} .series=${ended} .format=${count}></et-plot-card>
      <et-plot-card heading=${texts.times} .times=${times} .series=${percentiles} .format=${duration}></et-plot-card>
    </div>`;
  }

  models() {
    const { models, days, costs } = this.found;
    const columns = texts.modelColumns;
    const items = [...costs].filter(([, value]) => value);
    return html`<div class="halves">
      <section class="card block"><h2>${texts.models}</h2>
        <table><thead><tr><th>${columns.model}</th><th class="right">${columns.calls}</th><th class="right">${columns.input}</th><th class="right">${columns.output}</th></tr></thead>
          <tbody>${models.map((one) => html`<tr><td class="mono">${one.model}</td><td class="right">${count(one.calls)}</td><td class="right">${count(one.input)}</td><td class="right">${count(one.output)}</td></tr>`)}</tbody></table>
      </section>
      <section class="card block"><h2>${texts.costs}</h2>
        <table><thead><tr><th>${texts.dayColumns.day}</th><th class="right">${texts.dayColumns.tokens}</th><th class="right">${texts.dayColumns.dollars}</th></tr></thead>
          <tbody>${days.map((day) => html`<tr><td>${new Date(day.at * 1000).toISOString().slice(0, 10)}</td><td class="right">${count(day.tokens)}</td><td class="right">${dollars(day.dollars)}</td></tr>`)}
          ${items.map(([name, value]) => html`<tr class="faint"><td colspan="2">${name}</td><td class="right">${dollars(value)}</td></tr>`)}</tbody></table>
        <p class="tiny faint">${texts.wholeDays}</p>
      </section>
    </div>`;
  }

  content() {
    const { buckets, active } = this.found;
    const isEmpty = !total(buckets, "num_runs") && !Object.values(active).some(Boolean);
    if (isEmpty) return html`<et-empty icon="overview" heading=${texts.empty} text=${texts.emptyText} href=${canWrite() ? href("playground") : ""} action=${texts.emptyAction}></et-empty>`;
    return html`<div class="strip numbers"><et-facts .facts=${this.numbers()}></et-facts></div>
      ${this.plots()}
      <et-failure-table .failures=${this.found.failures}></et-failure-table>
      ${this.found.models.length ? this.models() : nothing}`;
  }

  render() {
    return html`<div class="head"><div class="title"><h1>${texts.title}</h1><p>${texts.text}</p></div></div>
      <et-view-tabs label=${texts.rangeLabel} .views=${texts.ranges} .current=${this.range} @view=${(event) => setQuery({ range: event.detail })}></et-view-tabs>
      ${this.whenLoaded(() => this.content())}`;
  }
}

define("et-overview", Overview);
