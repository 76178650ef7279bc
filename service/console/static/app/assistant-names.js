// The names of assistants by their ids, kept for the life of the page.

import { get } from "./api.js";

const known = new Map();

/** Returns {id: name}. An assistant without a name, or that is deleted, has its id's place left out. */
export async function assistantNames(ids) {
  const wanted = [...new Set(ids)].filter((id) => id && !known.has(id));
  await Promise.all(
    wanted.map(async (id) => {
      try {
        known.set(id, (await get(`/v1/assistants/${encodeURIComponent(id)}`)).name);
      } catch {
        known.set(id, null);
      }
    }),
  );
  return Object.fromEntries([...known].filter(([, name]) => name));
}

/** Forgets a name, after the assistant was changed. */
export const forgetName = (id) => known.delete(id);
