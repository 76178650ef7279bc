// A plot of numbers over time by uPlot. Its colours are those of the theme; the label says in words what it shows.

import { define, Element, html } from "../app/element.js";
import uPlot from "../vendor/uplot/uPlot.esm.js";

const HEIGHT = 190;
const AXIS_PX = 54;

class TimePlot extends Element {
  static properties = { times: { attribute: false }, series: { attribute: false }, format: { attribute: false }, label: {} };

  connectedCallback() {
    super.connectedCallback();
    this.themes = new MutationObserver(() => this.draw());
    this.themes.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    this.sizes = new ResizeObserver(([entry]) => this.plot?.setSize({ width: Math.floor(entry.contentRect.width), height: HEIGHT }));
    this.sizes.observe(this);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.themes.disconnect();
    this.sizes.disconnect();
    this.plot?.destroy();
    this.plot = null;
  }

  updated(changes) {
    const isSame = this.plot && !changes.has("series");
    if (isSame && changes.has("times")) this.plot.setData(this.data());
    else if (!isSame) this.draw();
  }

  data() {
    return [this.times, ...this.series.map((one) => one.values)];
  }

  /** Draws the plot from the start, since a series or a colour has changed. */
  draw() {
    const place = this.querySelector(".plot-place");
    if (!place) return;
    const styles = getComputedStyle(document.documentElement);
    const colour = (name) => styles.getPropertyValue(`--${name}`).trim();
    const axis = { stroke: colour("ink-faint"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: `11px ${styles.getPropertyValue("--font")}` };
    const format = this.format ?? String;
    this.plot?.destroy();
    this.plot = new uPlot(
      {
        width: Math.max(160, Math.floor(this.clientWidth)),
        height: HEIGHT,
        legend: { show: false },
        cursor: { points: { size: 6 }, y: false, drag: { x: false, y: false } },
        scales: { y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] } },
        axes: [axis, { ...axis, size: AXIS_PX, values: (_, values) => values.map(format) }],
        series: [{}, ...this.series.map((one) => ({ label: one.label, stroke: colour(one.colour), fill: one.isFilled ? `${colour(one.colour)}22` : undefined, width: 2, points: { size: 5 }, spanGaps: true }))],
        hooks: { setCursor: [(plot) => this.dispatchEvent(new CustomEvent("point", { detail: plot.cursor.idx ?? null }))] },
      },
      this.data(),
      place,
    );
  }

  render() {
    return html`<div class="plot-place" role="img" aria-label=${this.label}></div>`;
  }
}

define("et-plot", TimePlot);
