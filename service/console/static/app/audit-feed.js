// The events of the log: pages with the newest first, and the events that follow.

import { get, withQuery } from "./api.js";
import { follow } from "./live.js";

const PAGE = 100;
const PATH = "/v1/audit/events";

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
    this.waiting.unshift(data);
    this.onChange();
  }

  /** Puts the events that have come since at the top. */
  takeNew() {
    this.events = [...this.waiting, ...this.events];
    this.waiting = [];
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
