// Numbers, times and sizes as people read them, in the language of the browser.

const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "short" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const integer = new Intl.NumberFormat();
const UNITS = [
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];
const RELATIVE_S = 7 * 86400;

/** Returns a Date of Unix seconds or of an ISO text, or null. */
export function toDate(value) {
  if (value === null || value === undefined || value === "") return null;
  return new Date(typeof value === "number" ? value * 1000 : value);
}

export function shortTime(value) {
  const at = toDate(value);
  if (!at) return "–";
  const seconds = (at - Date.now()) / 1000;
  if (Math.abs(seconds) > RELATIVE_S) return day.format(at);
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? ["second", 1];
  return relative.format(Math.round(seconds / size), unit);
}

export function exactTime(value) {
  const at = toDate(value);
  return at ? `${exact.format(at)} · ${at.toISOString()}` : "";
}

export function clockTime(value) {
  const at = toDate(value);
  return at ? `${clock.format(at)}.${String(at.getMilliseconds()).padStart(3, "0")}` : "–";
}

export const count = (value) => (value === null || value === undefined ? "–" : integer.format(value));

/** Returns a duration of seconds: "340 ms", "2.4 s", "3 min 20 s", "2 h 5 min". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

/** Returns an amount of US dollars, with as many digits as small amounts need. */
export function dollars(value) {
  const amount = Number(value);
  if (value === null || value === undefined || Number.isNaN(amount)) return "–";
  if (amount === 0) return "$0";
  return `$${amount >= 1 ? amount.toFixed(2) : amount.toPrecision(2).replace(/(\.\d*?)0+$/, "$1")}`;
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KB", "MB", "GB", "TB"];
  let size = value;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? size : size.toFixed(size < 10 ? 1 : 0)} ${units[unit]}`;
}

/** Returns the beginning and the end of an id, which is enough to tell two apart. */
export function shortId(id) {
  return id.length > 18 ? `${id.slice(0, id.search(/[_-]/) + 5)}…${id.slice(-4)}` : id;
}

/** Returns a text on one line, cut to `most` characters. */
export function oneLine(text, most = 160) {
  const line = text.slice(0, most * 4).replace(/\s+/g, " ").trim();
  return line.length > most ? `${line.slice(0, most - 1)}…` : line;
}
