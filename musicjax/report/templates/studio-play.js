// The part that composes: what is asked for, and the stage and the trail beside it.

import { find, list, make, offer, set, write } from "./studio-dom.js";
import { get, post, upload } from "./studio-server.js";
import { capital, number, signs, titled } from "./studio-words.js";
import { openKeyboard } from "./studio-keyboard.js";
import { openStage } from "./studio-stage.js";
import { openTrail } from "./studio-trail.js";
import * as pieces from "./studio-pieces.js";
import * as transport from "./studio-transport.js";

const BUILT_IN = "builtin"; // before the composer has told its models
const REMEMBERED = "musicjax studio"; // what was chosen, in this browser
const FIELDS = ["model", "bars", "key", "meter", "bpm", "daring", "count", "breadth", "tidiness", "seed"];
const WIDE = matchMedia("(min-width: 56.25rem)");

export function openPlay(page) {
  let state = null, asking = false, primer = null, wantedInstruments = [];
  const model = () => state?.models.find((one) => one.id === find("model").value);
  const value = (id) => find(id).value;
  const isUsual = (id) => value(id) === find(id).defaultValue;

  // Asks for outputs; the first of them is played as it grows.
  async function compose(kind, more = {}) {
    if (asking) return;
    asking = true;
    sound.start(); // while the press counts as the user's wish
    await page.attempt(async () => {
      const { outputs } = await post("outputs", { ...wishes(kind), ...more, kind, model: value("model") || BUILT_IN });
      const output = state.outputs.find((one) => one.id === outputs[0])
        ?? { id: outputs[0], kind, number: state.outputs.length + 1, status: "waiting", seed: "", command: "", asked: { kind, ...more, bars: Number(value("bars")) } };
      stage.select(output);
      const piece = pieces.ofOutput(output);
      transport.load(piece);
      transport.play();
      page.say(`Piece ${output.number} is being written`);
      if (!WIDE.matches) find("stage").scrollIntoView({ block: "start" });
    });
    asking = false;
  }

  // What the form says; what is left open is left out.
  function wishes(kind) {
    const asked = { count: kind === "infill" ? 1 : Number(value("count")) };
    if (kind !== "infill" && kind !== "vary") asked.bars = Number(value("bars"));
    if (kind === "new") {
      for (const id of ["key", "meter"]) if (value(id)) asked[id] = value(id);
      if (!isUsual("bpm")) asked.bpm = Number(value("bpm"));
      const chosen = wantedInstruments.filter((name) => model()?.instruments.includes(name));
      if (chosen.length) asked.instruments = chosen;
    }
    if (!isUsual("daring")) asked.temperature = Math.round(Number(value("daring")) * (model()?.temperature ?? 1) * 1000) / 1000;
    if (!isUsual("breadth")) asked.top_p = Number(value("breadth"));
    if (!isUsual("tidiness")) asked.min_p = Number(value("tidiness"));
    if (value("seed")) asked.seed = Number(value("seed"));
    return asked;
  }

  // What the new bars go on from; null: nothing.
  function beginning() {
    const kind = value("begin");
    if (kind === "piece") {
      if (!value("begin-data")) throw new Error("There is no music to begin with yet. Bring some under Data.");
      return { data: value("begin-data"), piece: Number(value("begin-number")) };
    }
    if (kind === "file") {
      if (!primer) throw new Error("Choose a file to begin with.");
      return { data: primer, piece: 0 };
    }
    if (kind === "melody") return { melody: value("melody") };
    if (kind === "notes") {
      if (!keyboard.notes().length) throw new Error("Play some notes to begin with.");
      return { notes: keyboard.notes() };
    }
    return null;
  }

  find("compose").addEventListener("submit", (event) => {
    event.preventDefault();
    page.attempt(() => {
      const source = beginning();
      return source ? compose("continue", { source }) : compose("new");
    });
  });

  // Beginnings.

  const keyboard = openKeyboard(page, () => {});
  find("begin").addEventListener("change", () => {
    for (const name of ["piece", "file", "melody", "notes"]) find(`begin-${name}`).hidden = value("begin") !== name;
    tell();
  });
  find("begin-data").addEventListener("change", offerPieces);
  async function offerPieces() {
    const id = value("begin-data");
    const told = id ? await page.attempt(() => get(`data/${id}`)) : null;
    if (told && id === value("begin-data")) offer(find("begin-number"), titled(told.pieces).map((one) => [String(one.number), one.title]));
  }
  const takePrimer = (file) => page.attempt(async () => {
    if (!file) return;
    write(find("primer-name"), `Reading ${file.name}...`);
    const refusals = [];
    primer = await upload(file.name, [{ path: file.name, file }], { sent() {}, refused: (_, why) => refusals.push(why) });
    if (refusals.length) {
      primer = null;
      write(find("primer-name"), "Or drop it here.");
      throw new Error(refusals[0]);
    }
    while (["uploading", "reading"].includes(await statusOf(primer))) await new Promise((done) => setTimeout(done, 200));
    if (await statusOf(primer) !== "ready") throw new Error(`${file.name} contains no music that can be read.`);
    write(find("primer-name"), file.name);
  });
  const statusOf = async (id) => (await get("state")).data.find((one) => one.id === id)?.status;
  find("primer").addEventListener("change", (event) => takePrimer(event.target.files[0]));
  find("begin-file").addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    takePrimer(event.dataTransfer.files[0]);
  });

  // The form: it says what it will do, and remembers what was chosen.

  const shown = {
    bpm: (text) => (isUsual("bpm") ? "as it comes" : text),
    daring: (text) => (isUsual("daring") ? "as it learned" : text < 0.8 ? "careful" : text < 1 ? "calm" : text < 1.25 ? "daring" : "wild"),
    breadth: (text) => (isUsual("breadth") ? "as it learned" : `${Math.round(text * 100)} %`),
    tidiness: (text) => (isUsual("tidiness") ? "as it learned" : `${Math.round(text * 100)} %`),
  };
  function tell() {
    const bars = Number(value("bars")) || 0, many = Number(value("count"));
    const length = `${number(bars)} ${bars === 1 ? "bar" : "bars"}`;
    write(find("compose-now"), value("begin") ? `Go on for ${length}` : many > 1 ? `Compose ${number(many)} pieces of ${length}` : `Compose ${length}`);
    for (const [id, word] of Object.entries(shown)) {
      write(find("compose").querySelector(`output[for=${id}]`), word(value(id)));
      set(find(id), { "aria-valuetext": word(value(id)) });
    }
    const begins = Boolean(value("begin"));
    const parts = begins ? [`${number(bars)} more ${bars === 1 ? "bar" : "bars"}`, "in the same key and meter"] : [length, value("key") ? signs(value("key")) : "any key", value("meter"), isUsual("bpm") ? "" : `${value("bpm")} beats a minute`];
    write(find("chosen"), capital(parts.filter(Boolean).join(", ")));
    for (const name of ["key", "meter", "bpm", "instruments"]) find(`control-${name}`).hidden = begins;
    write(find("about-begin"), begins ? "Key, meter and tempo follow this; the composer chooses the instruments." : "The new bars go on from this.");
  }
  function remember() {
    const chosen = Object.fromEntries(FIELDS.map((id) => [id, value(id)]));
    try {
      localStorage.setItem(REMEMBERED, JSON.stringify({ ...chosen, instruments: wantedInstruments }));
    } catch { /* a browser that keeps nothing */ }
    tell();
  }
  function recall() {
    let chosen = {};
    try {
      chosen = JSON.parse(localStorage.getItem(REMEMBERED)) ?? {};
    } catch { /* nothing that was kept can be used */ }
    wantedInstruments = Array.isArray(chosen.instruments) ? chosen.instruments : [];
    for (const id of FIELDS) {
      if (typeof chosen[id] !== "string") continue;
      if (find(id).tagName === "SELECT") find(id).dataset.wanted = chosen[id];
      if (id !== "model" && id !== "meter") find(id).value = chosen[id];
    }
  }
  find("compose").addEventListener("input", (event) => {
    if (event.target.id === "model") offerModel();
    remember();
  });

  find("usual").addEventListener("click", () => {
    find("compose").reset();
    wantedInstruments = [];
    find("begin").dispatchEvent(new Event("change"));
    offerModel();
    remember();
  });

  function offerModel() {
    const { meters = [], instruments = [], keys = true, error = "" } = model() ?? {};
    write(find("about-model"), error || "The built-in model, or one that learned from your music.");
    offer(find("meter"), [["", "as it comes"], ...meters.map((one) => [one, one])]);
    find("key").disabled = !keys;
    list(find("instruments"), instruments, (name) => name, (name) => {
      const box = make("input", { type: "checkbox", oninput: () => {
        wantedInstruments = box.checked ? [...wantedInstruments, name] : wantedInstruments.filter((one) => one !== name);
      } });
      return make("label", { class: "chip" }, box, make("span", {}, name));
    }, (chip, name) => { chip.firstChild.checked = wantedInstruments.includes(name); });
  }

  const unfold = () => { find("choices").open = WIDE.matches; };
  WIDE.addEventListener("change", unfold);
  unfold();
  recall();

  const stage = openStage(page, compose);
  const trail = openTrail(stage.select, stage.selected);

  function update(told) {
    state = told;
    offer(find("model"), state.models.map((one) => [one.id, one.name]));
    offerModel();
    const ready = state.data.filter((one) => one.status === "ready" && one.pieces);
    const before = value("begin-data");
    offer(find("begin-data"), ready.map((one) => [one.id, one.name]));
    if (value("begin-data") !== before || !find("begin-number").children.length) offerPieces();
    if (!stage.selected() && state.outputs.length) {
      const latest = state.outputs.findLast((one) => !one.discarded);
      if (latest) stage.select(latest);
    }
    stage.update(state);
    trail.update(state);
    tell();
  }

  return {
    update,
    select: stage.select,
    // Takes a model for the next pieces.
    choose(id) {
      find("model").dataset.wanted = id;
      offer(find("model"), state.models.map((one) => [one.id, one.name]));
      offerModel();
      remember();
    },
  };
}
