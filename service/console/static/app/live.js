// Server-sent events that go on: after a broken connection the stream is asked for again, behind the last event.

import { ApiError, send } from "./api.js";

const FIRST_WAIT_MS = 500;
const MAX_WAIT_MS = 8000;

/**
 * Follows a stream until `stop` of the result is called, or until the server refuses it.
 *
 * `onEvent({event, data, id})` gets each event with its JSON, `onState("open" | "waiting" | "ended", error)` the state of the
 * connection. `onState` is called with "open" after each reconnection, so that a page can read anew what it shows.
 */
export function follow(path, { onEvent, onState = () => {}, lastId = null }) {
  const controller = new AbortController();
  let last = lastId;

  async function run() {
    let wait = FIRST_WAIT_MS;
    while (!controller.signal.aborted) {
      try {
        const headers = { Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) };
        const response = await send("GET", path, { headers, signal: controller.signal });
        onState("open");
        wait = FIRST_WAIT_MS;
        await read(response.body, (event) => {
          if (event.id) last = event.id;
          onEvent(event);
        });
      } catch (error) {
        if (controller.signal.aborted) return;
        if (error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429) {
          onState("ended", error);
          return;
        }
      }
      if (controller.signal.aborted) return;
      onState("waiting");
      await pause(wait, controller.signal);
      wait = Math.min(MAX_WAIT_MS, wait * 2);
    }
  }

  run();
  return { stop: () => controller.abort() };
}

/** Reads the events of a body until it ends. */
export async function read(body, onEvent) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = {};
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (event.data !== undefined) onEvent({ ...event, data: parse(event.data) });
        event = {};
        continue;
      }
      const [, name, content] = /^([^:]*):? ?(.*?)\r?$/s.exec(line);
      if (name === "data") event.data = event.data === undefined ? content : `${event.data}\n${content}`;
      else if (name === "event" || name === "id") event[name] = content;
    }
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
