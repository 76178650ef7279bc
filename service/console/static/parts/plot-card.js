// A plot with its heading and its legend, which shows the values of the moment under the pointer.

import { define, Element, html, nothing } from "../app/element.js";
import { exactTime, shortTime } from "../app/format.js";
import "./time-plot.js";

class PlotCard extends Element {
  static properties = {
    heading: {},
    times: { attribute: false },
    series: { attribute: false },
    format: { attribute: false },
    point: { state: true },
  };

  constructor() {
    super();
    this.point = null;
  }

  render() {
    const format = this.format ?? String;
    const at = this.point === null ? null : this.times[this.point];
    const label = `${this.heading}: ${this.series.map((one) => one.label).join(", ")}`;
    return html`<section class="card plot">
      <header><h2>${this.heading}</h2>${at ? html`<span class="tiny faint" title=${exactTime(at)}>${shortTime(at)}</span>` : nothing}</header>
      <ul class="legend">
        ${this.series.map((one) => {
          const value = this.point === null ? null : one.values[this.point];
          return html`<li><i class="key-${one.colour}"></i>${one.label}${value === null || value === undefined ? nothing : html` <b class="number">${format(value)}</b>`}</li>`;
        })}
      </ul>
      <et-plot label=${label} .times=${this.times} .series=${this.series} .format=${this.format} @point=${(event) => {
        this.point = event.detail;
      }}></et-plot>
    </section>`;
  }
}

define("et-plot-card", PlotCard);
