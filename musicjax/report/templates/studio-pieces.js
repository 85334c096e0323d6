// Pieces that can be heard: the notes of outputs, samples and data, as they are asked for and as they grow.

import { get } from "./studio-server.js";
import { nature, origin, title } from "./studio-words.js";
import * as transport from "./studio-transport.js";

const kept = new Map(); // by address
const hearers = new Set();
let outputs = [];

// `hearer` is told which piece has changed.
export const hear = (hearer) => hearers.add(hearer);

const byOnset = (one, other) => one[0] - other[0];
const isGrowing = (output) => ["waiting", "composing"].includes(output.status);

// A piece at an address below /api/, under the title that it has here.
export async function piece(path, named) {
  if (!kept.has(path)) {
    const told = await get(path);
    kept.set(path, { ...told, id: path, title: named, about: nature(told), notes: told.notes.sort(byOnset) });
  }
  return kept.get(path);
}

const addressOf = (id) => `outputs/${id}`;

// An output, at once: empty until its notes come.
export function ofOutput(output) {
  const path = addressOf(output.id);
  if (!kept.has(path)) {
    const made = { id: path, output: output.id, title: title(output), about: "", notes: [], bars: [], seconds: 0, growing: true, whole: false, asked: output.asked };
    kept.set(path, made);
    if (output.status !== "waiting") refresh(made);
  }
  return kept.get(path);
}

// Asks for all the notes that an output has so far.
async function refresh(one) {
  const told = await get(one.id).catch(() => null);
  if (!told || (one.whole && isGrowing(told))) return;
  if (isGrowing(told) && told.notes.length < one.notes.length) return; // more came meanwhile
  Object.assign(one, { notes: told.notes.sort(byOnset), bars: told.bars, seconds: told.seconds, key: told.key, meter: told.meter, bpm: told.bpm });
  one.growing = isGrowing(told);
  one.whole = !one.growing;
  changed(one);
}

function changed(one) {
  const output = outputs.find((each) => each.id === one.output);
  one.about = nature(one) || (output ? origin(output, outputs) : "");
  if (transport.present() === one) transport.grew();
  for (const hearer of hearers) hearer(one);
}

// More notes of an output: those from number `from` on are new.
export function grow({ output: id, from, notes, seconds, bars }) {
  const output = outputs.find((one) => one.id === id) ?? { id, number: "", status: "waiting" };
  const one = ofOutput(output);
  if (one.whole || from > one.notes.length) return; // what was missed comes with the whole
  one.notes.splice(from, Infinity, ...notes);
  Object.assign(one, { seconds, bars, growing: true });
  changed(one);
}

// The state says which outputs are whole.
export function update(state) {
  outputs = state.outputs;
  for (const output of outputs) {
    const one = kept.get(addressOf(output.id));
    if (!one) continue;
    one.title = title(output);
    one.asked = output.asked;
    if (!isGrowing(output) && one.growing && !one.asking) {
      one.asking = true;
      refresh(one).finally(() => { one.asking = false; });
    }
  }
}
