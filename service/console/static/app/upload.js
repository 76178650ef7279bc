// Uploads with progress, which `fetch` cannot report.

import { errors } from "../messages/errors.js";
import { ApiError } from "./api.js";

/** Uploads a file and returns its object. `onProgress` gets the share that was sent, 0 to 1. Raises ApiError. */
export function upload(file, purpose, onProgress) {
  const form = new FormData();
  form.append("purpose", purpose);
  form.append("file", file);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/files");
    request.setRequestHeader("Everthread-Console", "1");
    request.responseType = "json";
    request.upload.addEventListener("progress", ({ loaded, total }) => onProgress(total ? loaded / total : 0));
    request.addEventListener("error", () => reject(new ApiError(errors.unreachable)));
    request.addEventListener("load", () => {
      const { status, response } = request;
      if (status === 200) return resolve(response);
      const { message, code, param } = response?.error ?? {};
      const requestId = request.getResponseHeader("x-request-id");
      return reject(new ApiError(message || errors.status(status), { status, code, param, requestId }));
    });
    request.send(form);
  });
}
