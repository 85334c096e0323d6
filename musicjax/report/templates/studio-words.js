// Numbers and outputs in words.

const { programs } = JSON.parse(document.getElementById("told").textContent);
const SMALL = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];

export const number = (count) => SMALL[count] ?? count.toLocaleString("en");
export const count = (many, one, more = `${one}s`) => `${number(many)} ${many === 1 ? one : more}`;
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
export const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
export const instrument = (program) => programs[program] ?? "?";
export const signs = (key) => key.replace(/^([A-G])#/, "$1♯").replace(/^([A-G])b/, "$1♭");

export function minutes(seconds) {
  if (seconds < 90) return count(Math.max(Math.round(seconds), 0), "second");
  return count(Math.round(seconds / 60), "minute");
}

// Pieces of a data set in the order of their titles: their names without the folder that all are in and what music files end with.
const order = new Intl.Collator("en", { numeric: true }).compare;
export function titled(pieces) {
  const folders = pieces.map(({ name }) => name.slice(0, name.lastIndexOf("/") + 1));
  let shared = folders[0] ?? "";
  while (!folders.every((one) => one.startsWith(shared))) shared = shared.slice(0, shared.slice(0, -1).lastIndexOf("/") + 1);
  const cut = (name) => name.slice(shared.length).replace(/([^/])\.(midi?|kar|rmi|mxl|musicxml|xml)$/i, "$1");
  return pieces.map((one) => ({ ...one, title: cut(one.name) })).sort((one, other) => order(one.title, other.title));
}

export const title = (output) => `Piece ${output.number}`;

// What an output is: how it came about.
export function origin(output, outputs) {
  const { source = {}, from_bar: from, to_bar: to } = output.asked ?? {};
  const of = outputs.find((one) => one.id === source.output);
  const piece = of ? `piece ${of.number}` : source.melody || source.notes ? "your tune" : "your music";
  if (output.kind === "infill") return from === to ? `bar ${from} of ${piece}, rewritten` : `bars ${from} to ${to} of ${piece}, rewritten`;
  if (output.kind === "continue") return `continues ${piece}`;
  if (output.kind === "vary") return `a variation of ${piece}`;
  return "new";
}

// What a range of bars has in common with a piece that the model learned from.
export function likeness([first, last], piece) {
  return `${first === last ? `Bar ${first} sounds` : `Bars ${first} to ${last} sound`} like ${piece}, which the model learned from`;
}

// What a piece is: its key, meter and tempo.
export function nature(piece) {
  const tempo = piece.bpm ? `${Math.round(piece.bpm)} beats a minute` : "";
  return [piece.key ? signs(piece.key) : "", piece.meter ?? "", tempo].filter(Boolean).join(", ");
}
