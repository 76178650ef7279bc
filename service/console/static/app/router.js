// The views by their URLs. Each has its own URL, with its state in the query, so that it can be shared and loaded again.

const BASE = "/console";

/** Entries: the pattern of the path, the component, and the import of its module. `nav` marks the entry of the side bar. */
export const ROUTES = [
  ["/", "et-threads", () => import("../pages/threads.js"), "threads"],
  ["/playground", "et-playground", () => import("../pages/playground.js"), "playground"],
  ["/threads", "et-threads", () => import("../pages/threads.js"), "threads"],
  ["/threads/:threadId", "et-thread", () => import("../pages/thread.js"), "threads"],
  ["/threads/:threadId/replay", "et-replay", () => import("../pages/replay.js"), "threads"],
  ["/threads/:threadId/runs/:runId", "et-run", () => import("../pages/run.js"), "threads"],
  ["/assistants", "et-assistants", () => import("../pages/assistants.js"), "assistants"],
  ["/assistants/:assistantId", "et-assistant", () => import("../pages/assistant.js"), "assistants"],
  ["/overview", "et-overview", () => import("../pages/overview.js"), "overview"],
  ["/files", "et-files", () => import("../pages/files.js"), "files"],
  ["/files/:fileId", "et-file", () => import("../pages/file.js"), "files"],
  ["/stores", "et-stores", () => import("../pages/stores.js"), "files"],
  ["/stores/:storeId", "et-store", () => import("../pages/store.js"), "files"],
  ["/audit", "et-audit", () => import("../pages/audit.js"), "audit"],
  ["/keys", "et-keys", () => import("../pages/keys.js"), "keys"],
  ["/webhooks", "et-webhooks", () => import("../pages/webhooks.js"), "webhooks"],
  ["/health", "et-health", () => import("../pages/health.js"), "health"],
].map(([pattern, tag, load, nav]) => ({ pattern: compile(pattern), tag, load, nav }));

function compile(pattern) {
  return new RegExp(`^${pattern.replace(/:(\w+)/g, "(?<$1>[^/]+)")}/?$`);
}

/** Returns {route, parameters, query} of the address, or null if no view has it. */
export function match(url = new URL(location.href)) {
  const path = decode(url.pathname.slice(BASE.length)) || "/";
  for (const route of ROUTES) {
    const found = route.pattern.exec(path);
    if (found) return { route, parameters: { ...found.groups }, query: Object.fromEntries(url.searchParams) };
  }
  return null;
}

function decode(path) {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/** Returns the address of a view: `href("threads", id)`, with the pairs of `query`. */
export function href(...parts) {
  const query = typeof parts.at(-1) === "object" ? parts.pop() : {};
  const path = parts.map(encodeURIComponent).join("/");
  const pairs = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "" && value != null));
  return `${BASE}${path ? `/${path}` : ""}${pairs.size ? `?${pairs}` : ""}`;
}

export function navigate(address, { replace = false } = {}) {
  if (address === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", address);
  dispatchEvent(new CustomEvent("et-navigated"));
}

/** Changes pairs of the query of the current view. A value that is empty removes its pair. */
export function setQuery(changes, options = { replace: true }) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) {
    if (value === "" || value === null || value === undefined) url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  navigate(url.pathname + url.search, options);
}

/** Lets links to views change the view without loading the page. */
export function interceptLinks() {
  addEventListener("popstate", () => dispatchEvent(new CustomEvent("et-navigated")));
  addEventListener("click", (event) => {
    const link = event.composedPath().find((node) => node instanceof HTMLAnchorElement);
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const url = new URL(link.href);
    const isView = url.origin === location.origin && (url.pathname === BASE || url.pathname.startsWith(`${BASE}/`));
    if (!isView || link.target || link.hasAttribute("download")) return;
    event.preventDefault();
    navigate(url.pathname + url.search);
  });
}
