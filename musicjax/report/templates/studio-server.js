// The server: what the page asks of it, and what it tells without being asked.

const AWAY = "The studio does not answer. What it wrote is safe; start it again with: musicjax studio. If this page does not recover, open the address that the studio prints.";

// The answer of the server, as JSON; an Error with a sentence if it refuses, or if it does not answer, with the cause "away".
export async function ask(method, path, body) {
  const options = { method };
  if (body instanceof Blob) options.body = body;
  else if (method !== "GET") {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body ?? {});
  }
  let answer;
  try {
    answer = await fetch(`/api/${path}`, options);
  } catch {
    throw new Error(AWAY, { cause: "away" });
  }
  const told = await answer.json().catch(() => undefined); // it has gone while it answered
  if (!answer.ok) throw new Error(told?.error ?? `The studio answered ${answer.status}.`);
  if (told === undefined) throw new Error(AWAY, { cause: "away" });
  return told;
}

export const get = (path) => ask("GET", path);
export const post = (path, body) => ask("POST", path, body);

const RETRY_MILLISECONDS = 2000;

// Hears what the server tells until the page closes; `away` is told why nothing is heard, or "" when all is well.
export function listen({ state, notes, away }) {
  const source = new EventSource("/api/events");
  source.addEventListener("open", () => away(""));
  source.addEventListener("state", (event) => state(JSON.parse(event.data)));
  source.addEventListener("notes", (event) => notes(JSON.parse(event.data)));
  source.addEventListener("error", async () => {
    const ended = source.readyState === EventSource.CLOSED;
    source.close();
    const refused = ended && await fetch("/api/state").then((answer) => answer.status === 403, () => false);
    away(refused ? "The studio was restarted: open the address that it printed." : AWAY);
    setTimeout(() => listen({ state, notes, away }), RETRY_MILLISECONDS);
  });
}

// Sends files as a new set of music; returns its id. `sent` hears how many went, and `refused` each one's sentence.
export async function upload(name, files, { sent, refused }) {
  const AT_ONCE = 4;
  const { data } = await post("uploads", { name });
  let next = 0, done = 0;
  const send = async () => {
    while (next < files.length) {
      const { path, file } = files[next++];
      try {
        await ask("PUT", `uploads/${data}/files?name=${encodeURIComponent(path)}`, file);
      } catch (error) {
        refused(path, error.message);
      }
      sent(++done);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, send));
  await post(`uploads/${data}/done`);
  return data;
}
