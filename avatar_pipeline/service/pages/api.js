// The service's own API: requests with the token of this tab, errors as one kind, server-sent events that carry a token.

const TOKEN = "avatar_pipeline.token";

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  set: (value) => sessionStorage.setItem(TOKEN, value.trim()),
};

/** What the service refused, in its words. code: for programs; retryAfter: seconds, or null. */
export class ApiError extends Error {
  constructor(status, code, message, retryAfter = null) {
    super(message);
    Object.assign(this, { status, code, retryAfter });
  }
}

async function send(path, { method = "GET", body, signal, headers = {} } = {}) {
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body), cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "The service does not answer. Is it running, and this device online?");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const told = await response.json().catch(() => ({}));
  const wait = Number.parseInt(response.headers.get("Retry-After"), 10);
  const message = told.detail ?? told.message ?? told.error?.message ?? `The service answered ${response.status} without saying why.`;
  return new ApiError(response.status, told.title ?? told.error ?? String(response.status), String(message), Number.isNaN(wait) ? null : wait);
}

const json = async (path, options) => (await send(path, options)).json();

export const api = {
  schema: () => json("/openapi.json"),
  actors: () => json("/actors"),
  jobs: (limit, before) => json(`/jobs?limit=${limit}${before ? `&before=${encodeURIComponent(before)}` : ""}`),
  job: (id) => json(`/jobs/${id}`),
  submit: (task, input) => json("/jobs", { method: "POST", body: { task, input } }),
  /** A cartoon as {blob, seed, renderer, model}. query: size, transparent, seed, renderer. */
  cartoon: async (query) => {
    const response = await send(`/generate-image?${new URLSearchParams(query)}`);
    const told = (name) => response.headers.get(name);
    return { blob: await response.blob(), seed: told("X-Seed"), renderer: told("X-Renderer"), model: told("X-Model") };
  },
  cancel: (id) => json(`/jobs/${id}/cancel`, { method: "POST" }),
};

/** Follow a job: `tell(job)` at every event, until it is finished or `signal` aborts. Resolves to the finished job.
 *  (EventSource cannot send a token, so the stream is read by hand.) A stream that breaks is opened again. */
export async function follow(id, tell, signal) {
  for (let broken = 0; ; broken += 1) {
    try {
      const response = await send(`/jobs/${id}/events`, { signal, headers: { Accept: "text/event-stream" } });
      for await (const job of events(response.body)) {
        broken = 0;
        tell(job);
        if (isFinished(job)) return job;
      }
    } catch (error) {
      if (error.name === "AbortError" || error.status >= 400 || broken >= 5) throw error;
    }
    await new Promise((done) => setTimeout(done, 500 * 2 ** broken));
    const job = await api.job(id).catch(() => null); // the end may have come while nobody listened
    if (job && isFinished(job)) return job;
  }
}

export const isFinished = (job) => ["completed", "failed", "cancelled"].includes(job.state);

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text = (text + value).replaceAll("\r\n", "\n");
      const parts = text.split("\n\n");
      text = parts.pop();
      for (const part of parts) {
        const data = part.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
        if (data) yield JSON.parse(data);
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
