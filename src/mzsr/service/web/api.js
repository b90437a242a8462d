// The server, as the page sees it: ask, send, follow. Knows nothing of the page.

/** What the server refused, in its own words; `status` 0 means that it did not answer, `wait` counts seconds. */
export class Refusal extends Error {
  constructor(status, words, wait = null) {
    super(words);
    this.status = status;
    this.wait = wait;
  }
}

const SILENT = "The server does not answer. Check that it is running and that you are connected.";
const FINAL = new Set(["done", "failed", "cancelled", "interrupted"]);

/** The server's words begin small, as those of a command line do; names of files stay as they are. */
export const sentence = (words) => (/^[a-z]+[ ,;:]/.test(words) ? words[0].toUpperCase() + words.slice(1) : words).replace(/[^.!?]$/, "$&.");

function refusal(status, text, retryAfter) {
  let words = `The server answered ${status}, and no reason.`;
  try {
    const detail = JSON.parse(text).detail;
    if (typeof detail === "string") words = sentence(detail);
  } catch { /* not JSON: a proxy in between, whose page is no sentence */ }
  const later = retryAfter !== null || status === 503; // uvicorn's own 503 says no time
  return new Refusal(status, words, later ? Math.max(1, Number(retryAfter) || 5) : null);
}

/** Fetch, and throw a Refusal for anything but success. */
export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw error.name === "AbortError" ? error : new Refusal(0, SILENT);
  }
  if (response.ok) return response;
  throw refusal(response.status, await response.text(), response.headers.get("Retry-After"));
}

export async function json(path, options) {
  return (await ask(path, options)).json();
}

export const post = (path, body) => ask(path, {
  method: "POST",
  ...(body && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }),
});

/** Say which file of a form keeps it from being sent: a request does not tell that from a server that is gone. */
async function unreadable(form) {
  for (const part of form.values()) {
    try {
      if (part instanceof File) await part.slice(0, 1).arrayBuffer();
    } catch {
      return new Refusal(422, `${part.name} cannot be read any more: it has changed, is gone, or is a folder. Choose it again.`);
    }
  }
  return null;
}

/** Send a form; `tell` hears the share that has left, which `fetch` cannot say. Returns the job. */
export function submit(form, tell, signal) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const request = new XMLHttpRequest();
    let sent = false;
    request.open("POST", "/api/jobs");
    request.upload.addEventListener("load", () => { sent = true; });
    request.upload.addEventListener("progress", (event) => event.lengthComputable && tell(event.loaded / event.total));
    request.addEventListener("load", () => {
      const { status, responseText } = request;
      if (status === 201) {
        const job = JSON.parse(responseText);
        if (signal.aborted) post(job.links.cancel).catch(() => {}); // cancelled while the server looked at it
        resolve(job);
      } else reject(refusal(status, responseText, request.getResponseHeader("Retry-After")));
    });
    request.addEventListener("error", async () => reject(await unreadable(form) ?? new Refusal(0, SILENT)));
    request.addEventListener("abort", () => reject(signal.reason));
    // Once it is sent the server makes a job of it, whether somebody listens or not: its name is needed to cancel it
    signal.addEventListener("abort", () => (sent ? reject(signal.reason) : request.abort()));
    request.send(form);
  });
}

/**
 * Tell of every change of a job until it is finished, whatever becomes of the connection; `admitted` asks who it is
 * where the session has ended. Returns the finished job.
 */
export async function follow(job, tell, silence, signal, admitted) {
  for (let wait = 1; !FINAL.has(job.state); wait = Math.min(2 * wait, 10)) {
    tell(job);
    job = await events(job, (changed) => { wait = 1; tell(changed); }, signal);
    if (FINAL.has(job.state)) break;
    silence();
    await pause(1000 * wait, signal);
    signal.throwIfAborted();
    try {
      job = await admitted(() => json(job.links.self, { signal }));
    } catch (error) {
      if (error.status !== 0 && error.status < 500) throw error;
    }
  }
  return job;
}

/** Wait some milliseconds, or until somebody cancels. */
const pause = (time, signal) => new Promise((resolve) => {
  setTimeout(resolve, time);
  signal.addEventListener("abort", resolve, { once: true });
});

/** Listen until the job is finished or the stream breaks; returns what was heard last. */
function events(job, tell, signal) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const stream = new EventSource(job.links.events);
    const end = (settle, value) => { stream.close(); settle(value); };
    stream.addEventListener("job", (event) => {
      job = JSON.parse(event.data);
      tell(job);
      if (FINAL.has(job.state)) end(resolve, job);
    });
    stream.addEventListener("error", () => end(resolve, job));
    signal.addEventListener("abort", () => end(reject, signal.reason));
  });
}
