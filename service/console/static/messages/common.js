// Texts that several views share. A translation replaces the files of this folder.

export const common = {
  product: "Everthread",
  loading: "Loading",
  copied: "Copied",
  copy: "Copy",
  copyId: (id) => `Copy ${id}`,
  code: "Code",
  cancel: "Cancel",
  close: "Close",
  delete: "Delete",
  save: "Save",
  saved: "Saved",
  download: "Download",
  open: "Open",
  more: "Load more",
  none: "None",
  showMore: (count) => `Show more (${count.toLocaleString()} characters follow)`,
  reconnecting: "The connection to the server is broken. Reconnecting …",
  unnamed: "Unnamed",
  metadata: "Metadata",
};

export const statuses = {
  queued: "Queued",
  in_progress: "In progress",
  requires_action: "Requires action",
  cancelling: "Cancelling",
  cancelled: "Cancelled",
  completed: "Completed",
  incomplete: "Incomplete",
  failed: "Failed",
  expired: "Expired",
  processed: "Processed",
  enabled: "Enabled",
  disabled: "Disabled",
  ok: "OK",
  error: "Error",
};

export const nav = {
  label: "Views",
  build: "Build",
  watch: "Watch",
  manage: "Manage",
  overview: "Overview",
  playground: "Playground",
  threads: "Threads",
  assistants: "Assistants",
  files: "Files and stores",
  audit: "Audit",
  keys: "Keys and projects",
  webhooks: "Webhooks",
  health: "Health",
  find: "Find or do …",
  menu: "Open the menu",
  theme: { light: "Light", dark: "Dark", system: "System theme" },
  signOut: "Sign out",
  who: (scope, project) => [`Scope ${scope}`, `Project ${project}`],
  notFound: "Not found",
  notFoundText: "There is no such view.",
  skip: "Skip to the content",
};

export const palette = {
  label: "Commands",
  placeholder: "A view, a command, or an id to open",
  empty: "Nothing matches.",
  openId: (id) => `Open ${id}`,
  newThread: "New conversation in the playground",
  newAssistant: "New assistant",
  theme: (name) => `Theme: ${name}`,
};

export const signIn = {
  heading: "Sign in to Everthread",
  text: "Use an API key of this server. It is exchanged for a session of twelve hours, and is not kept in the browser.",
  key: "API key",
  submit: "Sign in",
  busy: "Signing in …",
  hint: "The first start prints the key, or the file that holds it. A start on this machine also prints a link that signs in by itself.",
  over: "Your session is over. Sign in again to go on where you were.",
};
