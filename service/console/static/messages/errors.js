// Errors in plain words.

const STATUSES = {
  400: "The server does not understand the request.",
  401: "You are not signed in, or the session is over.",
  403: "Your key does not permit this.",
  404: "There is no such object. It may be deleted, or belong to another project.",
  409: "The object is being changed by another request. Try again.",
  413: "This is too large for the server.",
  421: "The server is not known under this address.",
  429: "Too many requests in a short time. Wait a moment.",
  500: "The server had an error.",
  503: "The server is busy, or a part of it is down. Try again soon.",
};

const TITLES = { 0: "No connection", 401: "Signed out", 403: "Not permitted", 404: "Not found", 429: "Too many requests" };

export const errors = {
  unreachable: "The server does not answer. It may be restarting, or the network is down.",
  status: (status) => STATUSES[status] ?? `The server answered with the status ${status}.`,
  title: (status) => TITLES[status] ?? (status >= 500 ? "The server failed" : "This did not work"),
  request: "Request",
  retry: "Try again",
};
