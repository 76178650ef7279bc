// Requests to the API of this server. The browser adds the cookie of the session; the header says that the console asks.

import { errors } from "../messages/errors.js";

const HEADERS = { "Everthread-Console": "1", "OpenAI-Beta": "assistants=v2" };

/** A request that was refused or failed. `requestId` names it in the server's log; `status` is 0 without an answer. */
export class ApiError extends Error {
  constructor(message, { status = 0, code = null, param = null, requestId = null } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
    this.requestId = requestId;
  }
}

/** Sends a request and returns the response. Raises ApiError if the answer is an error, or if there is none. */
export async function send(method, path, { body, headers = {}, signal } = {}) {
  const isForm = body instanceof FormData;
  const typed = body === undefined || isForm ? {} : { "Content-Type": "application/json" };
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: { ...HEADERS, ...typed, ...headers },
      body: body === undefined || isForm ? body : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(errors.unreachable);
  }
  if (!response.ok) throw await toError(response);
  return response;
}

async function toError(response) {
  const requestId = response.headers.get("x-request-id");
  let detail = {};
  try {
    detail = (await response.json()).error ?? {};
  } catch {
    // The answer is not JSON, as that of a proxy.
  }
  if (response.status === 401) dispatchEvent(new CustomEvent("et-signed-out", { detail: { code: detail.code } }));
  const message = detail.message || errors.status(response.status);
  return new ApiError(message, { status: response.status, code: detail.code, param: detail.param, requestId });
}

const json = async (method, path, options) => (await send(method, path, options)).json();

export const get = (path, options) => json("GET", path, options);
export const post = (path, body, options) => json("POST", path, { body: body ?? {}, ...options });
export const remove = (path, options) => json("DELETE", path, options);

/** Returns a path with a query. Values that are empty are left out; a list gives its name more than once. */
export function withQuery(path, query) {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") pairs.append(name, String(one));
    }
  }
  const text = pairs.toString();
  return text ? `${path}?${text}` : path;
}

/** Returns all objects of a list of the API, at most `most`, by pages of 100. */
export async function list(path, { query = {}, most = 1000, signal } = {}) {
  const found = [];
  let after;
  while (found.length < most) {
    const page = await get(withQuery(path, { limit: 100, ...query, after }), { signal });
    found.push(...page.data);
    if (!page.has_more || page.data.length === 0) break;
    after = page.last_id ?? page.data.at(-1).id;
  }
  return found.slice(0, most);
}
