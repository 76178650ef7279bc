// The first words and the last run's status of threads in sight, read a few at a time and kept for a while.

import { get, withQuery } from "./api.js";
import { oneLine } from "./format.js";

const AT_ONCE = 4;
const MOST = 2000;

const previews = new Map();
const waiting = [];
let busy = 0;

/** Returns {text, status, isLoaded} of a thread. `onLoad` is called when more is known. */
export function previewOf(id, onLoad) {
  const known = previews.get(id);
  if (known && !known.isOld) return known;
  if (known?.isOld) known.isOld = false;
  else {
    if (previews.size >= MOST) previews.delete(previews.keys().next().value);
    previews.set(id, { isLoaded: false });
  }
  waiting.push([id, onLoad]);
  work();
  return previews.get(id);
}

/** Lets all previews be read again when they are next in sight. Until then the old ones are shown. */
export function forgetPreview() {
  for (const preview of previews.values()) preview.isOld = true;
}

async function work() {
  if (busy >= AT_ONCE) return;
  const next = waiting.pop();
  if (!next) return;
  busy += 1;
  const [id, onLoad] = next;
  try {
    previews.set(id, await read(id));
  } catch {
    previews.set(id, { isLoaded: true });
  }
  busy -= 1;
  onLoad();
  work();
}

async function read(id) {
  const path = `/v1/threads/${encodeURIComponent(id)}`;
  const [messages, runs] = await Promise.all([
    get(withQuery(`${path}/messages`, { limit: 1, order: "asc" })),
    get(withQuery(`${path}/runs`, { limit: 1, order: "desc" })),
  ]);
  const part = messages.data[0]?.content.find((one) => one.text);
  return { isLoaded: true, text: part ? oneLine(part.text.value, 140) : undefined, status: runs.data[0]?.status };
}
