// The studio: its four parts, what they all hear, and the keys that work everywhere.

import { find, set, write } from "./studio-dom.js";
import { get, listen, post } from "./studio-server.js";
import * as transport from "./studio-transport.js";
import * as pieces from "./studio-pieces.js";
import { openData } from "./studio-data.js";
import { openTrain } from "./studio-train.js";
import { openPlay } from "./studio-play.js";
import { openKeep } from "./studio-keep.js";

const NAMES = ["data", "train", "play", "keep"];

// What is said to a screen reader, and what went wrong to everyone.

const page = {
  say: (text) => write(find("said"), text),
  wrong(error) {
    const text = error.message ?? String(error);
    if (error.cause === "away" && !find("away").hidden) return page.say(text); // the banner says it already
    write(find("alert").firstElementChild, text);
    find("alert").hidden = false;
  },
  // Runs what a press asks for; an error becomes a sentence.
  async attempt(work) {
    try {
      find("alert").hidden = true;
      return await work();
    } catch (error) {
      page.wrong(error);
    }
  },
  go(name) { location.hash = name; },
  // Goes on to compose: with a model, or with a piece on the stage.
  use(model) {
    parts.play.choose(model);
    page.go("play");
  },
  show(output) {
    parts.play.select(output);
    page.go("play");
  },
};
find("alert").lastElementChild.addEventListener("click", () => { find("alert").hidden = true; });

// Parts: the address says which of them is seen.

const parts = { data: openData(page), train: openTrain(page), play: openPlay(page), keep: openKeep(page) };
let state = null, shown = "";

function turnTo() {
  const asked = location.hash.slice(1);
  if (asked === "content") return; // the link that skips
  shown = NAMES.includes(asked) ? asked : "play";
  for (const name of NAMES) {
    find(`part-${name}`).hidden = name !== shown;
    set(document.querySelector(`nav a[href="#${name}"]`), { "aria-current": name === shown ? "page" : null });
  }
  document.title = `${document.querySelector(`#part-${shown} h2`).textContent} - musicjax studio`;
  scrollTo(0, 0);
  if (state) parts[shown].update(state);
}
addEventListener("hashchange", turnTo);

// State: each part shows what concerns it.

function take(told) {
  const before = state;
  state = told;
  state.outputs.forEach((output, place) => { output.number = place + 1; });
  const undo = find("undo");
  undo.disabled = !state.undo;
  set(undo, { title: state.undo || null, "aria-label": state.undo ? `Undo: ${state.undo}` : "Undo" });
  if (state.message && state.message !== before?.message) page.wrong(state.message);
  pieces.update(state);
  for (const part of Object.values(parts)) part.update(state);
  if (before) announce(before);
}

// What has ended since the state before.
function announce(before) {
  const old = (kind, id) => before[kind].find((one) => one.id === id)?.status;
  for (const output of state.outputs) {
    const was = old("outputs", output.id);
    if (was === output.status) continue;
    if (output.status === "done" && was) page.say(`Piece ${output.number} is done`);
    if (output.status === "failed") page.wrong(`Piece ${output.number}: ${output.error}`);
  }
  for (const run of state.runs) {
    const was = old("runs", run.id);
    if (was && was !== run.status && run.status === "finished") page.say(`${run.name} has learned`);
    if (was && was !== run.status && run.status === "failed") page.wrong(`${run.name}: ${run.message}`);
  }
  for (const data of state.data) {
    if (data.status === "ready" && old("data", data.id) === "reading") page.say(`${data.name} has been read`);
  }
}

find("undo").addEventListener("click", () => page.attempt(() => post("undo")));
const away = (why) => {
  write(find("away"), why);
  find("away").hidden = !why;
  if (find("alert").firstElementChild.textContent === why) find("alert").hidden = true;
};

// The pointer's presses leave no focus behind, so that the space bar goes on to play and pause.
document.addEventListener("click", (event) => {
  if (event.detail > 0) event.target.closest?.("button")?.blur();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== " " || event.ctrlKey || event.metaKey || event.altKey || !transport.present()) return;
  if (event.target.closest("button, input:not([type=range]), select, textarea, summary, a, [contenteditable]")) return;
  event.preventDefault();
  transport.toggle();
});

get("state").then(take, page.wrong).then(turnTo);
listen({ state: take, notes: pieces.grow, away });
turnTo();
