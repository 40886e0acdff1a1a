// The jobs API.

import { get } from "./dom.js";

let asking = null;

/** Asks for the token once, however many requests need it, until the service knows it. */
function login() {
  asking ??= new Promise((resolve) => {
    const dialog = get("login");
    dialog.showModal();
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.onclose = async () => {
      const body = JSON.stringify({ token: get("token").value.trim() });
      const answer = await fetch("/api/login", { method: "POST", body, headers: { "Content-Type": "application/json" } });
      if (answer.ok) {
        asking = null;
        get("token").value = "";
        return resolve();
      }
      get("login-problem").textContent = (await answer.json()).detail;
      get("login-problem").hidden = false;
      dialog.showModal();
    };
  });
  return asking;
}

async function reason(answer) {
  try {
    return (await answer.json()).detail ?? answer.statusText;
  } catch {
    return `${answer.status} ${answer.statusText}`;
  }
}

/** Calls the API and returns the JSON that it answers; asks for a token where one is needed. */
export async function call(path, method = "GET") {
  const answer = await fetch(path, { method });
  if (answer.status === 401) {
    await login();
    return call(path, method);
  }
  if (!answer.ok) throw new Error(await reason(answer));
  return answer.status === 204 ? null : answer.json();
}

/**
 * Creates a job.
 * @param fields Its fields; files are uploaded.
 * @param onProgress Told how much of the upload is done, 0..1.
 * @param signal Ends the upload.
 */
export function create(fields, onProgress = () => {}, signal = null) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof File) form.append(name, value, value.name);
    else if (value !== null && value !== undefined && value !== "") form.append(name, value);
  }
  return new Promise((resolve, reject) => {
    // Not fetch, which does not tell how far an upload is.
    const request = new XMLHttpRequest();
    request.open("POST", "/api/jobs");
    request.responseType = "json";
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = async () => {
      if (request.status === 201) resolve(request.response);
      else if (request.status === 401) login().then(() => create(fields, onProgress, signal).then(resolve, reject));
      else reject(new Error(request.response?.detail ?? `the service answered ${request.status}`));
    };
    request.onerror = () => reject(new Error("The upload did not get through: the service cannot be reached or refused it."));
    request.onabort = () => reject(new DOMException("", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

/** Waits until a job is over, tells of it on the way, and returns it; goes on when the service was restarted. */
export async function follow(id, onChange, signal = null) {
  for (;;) {
    if (signal?.aborted) throw new DOMException("", "AbortError");
    try {
      const job = await call(`/api/jobs/${id}`);
      onChange(job);
      if (["done", "failed", "cancelled"].includes(job.state)) return job;
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // a TypeError means that nobody answers
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}
