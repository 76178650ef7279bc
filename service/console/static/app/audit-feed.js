// The events of the log: pages with the newest first, and the events that follow.

import { get, withQuery } from "./api.js";
import { follow } from "./live.js";

const PAGE = 100;
const PATH = "/v1/audit/events";
// Events that wait to be shown. Further ones only count: the list is then read again.
const MOST_WAITING = 500;

/** Returns the query of the API for the filters of the URL. */
export function toFeedQuery({ type, stream, actor, request, since, until }) {
  const day = (text, days) => (text ? new Date(new Date(`${text}T00:00`).getTime() + days * 86_400_000).toISOString() : "");
  return { type, stream_id: stream, actor, request_id: request, since: day(since, 0), until: day(until, 1) };
}

export class AuditFeed {
  /** `onChange` is called when events have come. */
  constructor(query, onChange) {
    this.query = toFeedQuery(query);
    this.onChange = onChange;
    this.events = [];
    this.waiting = [];
    this.missed = 0;
    this.hasMore = false;
  }

  async start() {
    const page = await get(withQuery(PATH, { ...this.query, order: "desc", limit: PAGE }));
    this.events = page.data;
    this.hasMore = page.has_more;
    const after = page.data[0]?.index ?? -1;
    if (this.query.until) return;
    this.stream = follow(withQuery(PATH, { ...this.query, stream: "true", after }), { onEvent: (event) => this.apply(event) });
  }

  stop() {
    this.stream?.stop();
  }

  apply({ event, data }) {
    if (event !== "audit.event") return;
    if (this.waiting.length < MOST_WAITING) this.waiting.unshift(data);
    else this.missed += 1;
    this.onChange();
  }

  /** The number of events that have come since the list was read. */
  get newCount() {
    return this.waiting.length + this.missed;
  }

  /** Puts the events that have come since at the top, or reads the list again if they are too many. */
  async takeNew() {
    if (this.missed) {
      const page = await get(withQuery(PATH, { ...this.query, order: "desc", limit: PAGE }));
      this.events = page.data;
      this.hasMore = page.has_more;
    } else {
      this.events = [...this.waiting, ...this.events];
    }
    this.waiting = [];
    this.missed = 0;
    this.onChange();
  }

  async more() {
    if (this.isBusy || !this.hasMore) return;
    this.isBusy = true;
    try {
      const page = await get(withQuery(PATH, { ...this.query, order: "desc", limit: PAGE, after: this.events.at(-1).index }));
      this.events = [...this.events, ...page.data];
      this.hasMore = page.has_more;
      this.onChange();
    } finally {
      this.isBusy = false;
    }
  }
}
