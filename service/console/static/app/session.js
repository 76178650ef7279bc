// Who is signed in. The cookie itself is out of reach of scripts.

import { get, post, remove } from "./api.js";

const PATH = "/console/session";

let current = null;

/** The session: {key_id, scope, project_id, expires_at}, or null if nobody is signed in. */
export const session = () => current;

const READERS = new Set(["read", "audit", "audit:content"]);

/** Whether the person may change objects. A control that would fail is not shown. */
export const canWrite = () => current !== null && !READERS.has(current.scope);
export const canRead = () => current !== null && current.scope !== "audit";
export const canAudit = () => current !== null && current.scope !== "read";
export const canReadContents = () => current !== null && !["read", "audit"].includes(current.scope);
export const canFork = () => current !== null && !["read", "audit"].includes(current.scope);
export const canAdminister = () => current?.scope === "admin";

export async function restore() {
  try {
    current = await get(PATH);
  } catch (error) {
    if (error.status !== 401) throw error;
    current = null;
  }
  return current;
}

export async function signIn(credential) {
  current = await post(PATH, credential);
  return current;
}

export async function signOut() {
  await remove(PATH);
  current = null;
}

/** Returns the text of a sign-in link, which the address has behind the #, and removes it from the address. */
export function takeLink() {
  const found = /^#sign-in=(.+)$/.exec(location.hash);
  if (!found) return null;
  history.replaceState(null, "", location.pathname + location.search);
  return decodeURIComponent(found[1]);
}
