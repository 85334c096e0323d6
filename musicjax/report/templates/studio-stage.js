// The stage: the piece at hand, its roll, and what can be done with it.

import { find, list, make, offer, set, swatch, write } from "./studio-dom.js";
import { get, post } from "./studio-server.js";
import { barLines, barsOf, openRoll, secondsOf, shade } from "./studio-roll.js";
import { capital, instrument, likeness, nature, origin, title } from "./studio-words.js";
import * as pieces from "./studio-pieces.js";
import * as transport from "./studio-transport.js";

// `compose` asks for new outputs: (kind, what else is asked). Returns {update, select, selected}.
export function openStage(page, compose) {
  let state = null, output = null, piece = null, marked = null, copies = null, hasChosenOther = false;
  let seen = null; // what the roll shows: the piece, or before it has notes, the one that it is made from
  const [from, to] = [find("from-bar"), find("to-bar")];

  const roll = openRoll(find("roll"), {
    seek(seconds) {
      if (transport.present() !== piece) transport.load(piece);
      transport.seek(seconds);
    },
    mark: setMarked,
  });

  // Bars.

  function setMarked(range) {
    marked = range;
    [from.value, to.value] = range;
    roll.setMarked(range);
    if (transport.looping() && transport.present() === piece) transport.setLoop(secondsOf(piece, range));
    renameTools();
  }

  function fromFields() {
    if (!piece) return;
    const last = barLines(seen).length - 1, bound = (field) => Math.min(Math.max(Math.round(Number(field.value)) || 1, 1), last);
    const [first, second] = [bound(from), bound(to)];
    setMarked([first, Math.max(first, second)]);
  }
  from.addEventListener("change", () => { if (Number(to.value) < Number(from.value)) to.value = from.value; fromFields(); });
  to.addEventListener("change", () => { if (Number(from.value) > Number(to.value)) from.value = to.value; fromFields(); });

  const bars = () => marked ?? [1, Math.min(4, barLines(seen).length - 1)];

  find("loop-bars").addEventListener("click", () => {
    if (transport.present() !== piece) transport.load(piece);
    if (!marked) setMarked(bars());
    transport.setLoop(transport.looping() ? null : secondsOf(piece, marked));
    if (transport.looping()) transport.play();
    renameTools();
  });
  find("loop").addEventListener("click", () => { // the dock's: the marked bars if there are any, else all
    const present = transport.present();
    transport.setLoop(transport.looping() ? null : present === piece && marked ? secondsOf(piece, marked) : [0, present.seconds]);
    renameTools();
  });

  // What is done with the piece.

  const source = () => ({ output: output.id });
  find("anew").addEventListener("click", () => {
    setMarked(bars());
    compose("infill", { source: source(), from_bar: marked[0], to_bar: marked[1] });
  });
  find("continue").addEventListener("click", () => compose("continue", { source: source() }));
  find("vary").addEventListener("click", () => compose("vary", { source: source(), amount: Number(find("amount").value) }));
  for (const act of ["cancel", "favourite", "keep", "discard"]) {
    find(`do-${act}`).addEventListener("click", () => page.attempt(() => post(`outputs/${output.id}/${act}`)));
  }
  find("stage-play").addEventListener("click", () => transport.turn(piece));
  find("copy").addEventListener("click", () => page.attempt(async () => {
    await navigator.clipboard.writeText(output.command);
    page.say("Copied");
    write(find("copy"), "Copied");
    setTimeout(() => write(find("copy"), "Copy"), 1500);
  }));

  find("other").addEventListener("change", () => { hasChosenOther = true; });
  // The other piece takes the place of this one, at the same moment.
  find("switch").addEventListener("click", () => {
    const other = state.outputs.find((one) => one.id === find("other").value);
    if (!other) return;
    const sounds = transport.isPlaying(piece.id), at = transport.present() === piece ? transport.position() : 0, before = output;
    select(other);
    transport.load(piece, piece.growing ? at : Math.min(at, piece.seconds)); // one whose notes are still to come waits there
    if (sounds) transport.play();
    find("other").value = before.id;
    hasChosenOther = true;
    page.say(`Now ${piece.title}`);
  });

  // What is shown.

  const isOpen = () => ["waiting", "composing"].includes(output.status);

  function select(other) {
    if (output?.id === other.id) return;
    output = other;
    piece = pieces.ofOutput(other);
    const { from_bar: first, to_bar: last } = output.asked ?? {};
    marked = first ? [first, last] : null; // the bars that were written anew
    hasChosenOther = false;
    roll.setMarked(marked);
    askCopies();
    show();
    roll.move(transport.present() === piece ? transport.position() : 0, false);
    if (state) update(state);
  }

  async function askCopies() {
    copies = null;
    tellCopies();
    if (isOpen()) return;
    const { id } = output, told = await get(`outputs/${id}/copies`).catch(() => null);
    if (output.id !== id) return;
    copies = told;
    tellCopies();
  }

  // Only a piece that is whole has bars that can be named.
  function tellCopies() {
    const found = copies?.piece && piece.whole ? copies : null;
    roll.setCopied(found?.seconds ?? null);
    find("stage-copied").hidden = !found;
    write(find("stage-copied"), found ? `${likeness(barsOf(piece, found.seconds), found.piece)} (the line below the notes).` : "");
  }

  // The piece that this one is made from, as far as it stays, until this one has notes; null: there is none.
  function origins() {
    const { source = {}, from_bar: first, to_bar: last } = output.asked ?? {};
    const before = state?.outputs.find((one) => one.id === source.output);
    if (!before || !isOpen() || piece.notes.length) return null;
    const old = pieces.ofOutput(before), [from, to] = first ? secondsOf(old, [first, last]) : [Infinity, Infinity];
    if (!old.notes.length) return null;
    return { ...old, title: `${piece.title}, still empty, with notes of ${old.title}`, notes: old.notes.filter(([onset]) => onset < from || onset >= to), faint: true, from: before.number };
  }

  function show() {
    seen = origins() ?? piece;
    const programs = roll.show(seen);
    list(find("stage-legend"), programs, (program) => program,
      (program) => make("li", {}, swatch(shade(program)), instrument(program)), () => {});
    [from.value, to.value] = bars();
    for (const field of [from, to]) set(field, { max: Math.max(barLines(seen).length - 1, ...bars()) });
    tellCopies();
    describe();
  }

  function describe() {
    write(find("stage-title"), title(output));
    const wait = ["starting", "restarting"].includes(state?.composer) ? "waits until the composer has started" : "waits for its turn";
    const written = piece.notes.length ? "is being written" : "is being prepared; the first of its kind takes longest";
    const what = { waiting: wait, composing: written, cancelled: "cancelled", failed: output.error }[output.status];
    write(find("stage-about"), [what ?? capital(origin(output, state?.outputs ?? [])), seen === piece ? nature(piece) : `the faint notes are from piece ${seen.from}`].filter(Boolean).join("; "));
    renameTools();
  }

  function renameTools() {
    if (!piece) return;
    const range = bars(), same = range[0] === range[1];
    const loops = transport.looping() && transport.present() === piece;
    set(find("loop-bars"), { "aria-pressed": String(Boolean(loops)), "aria-label": `Loop bars ${range[0]} to ${range[1]}` });
    set(find("anew"), { "aria-label": same ? `Rewrite bar ${range[0]}` : `Rewrite bars ${range[0]} to ${range[1]}` });
    set(find("stage-play"), { "aria-label": `${transport.isPlaying(piece.id) ? "Pause" : "Play"} ${piece.title}` });
    find("stage").classList.toggle("playing", transport.isPlaying(piece.id));
  }

  function update(told) {
    state = told;
    const was = output?.status;
    output = state.outputs.find((one) => one.id === output?.id) ?? output;
    if (!output) return;
    if (was !== output.status) askCopies();
    find("marks").hidden = find("tools").hidden = false;
    find("stage-play").disabled = false;
    find("do-cancel").hidden = !isOpen();
    for (const [act, is] of [["favourite", output.favourite], ["keep", output.kept], ["discard", output.discarded]]) {
      find(`do-${act}`).hidden = isOpen();
      set(find(`do-${act}`), { "aria-pressed": String(Boolean(is)) });
    }
    const can = state.models.find((one) => one.id === find("model").value)?.can ?? {};
    find("anew").disabled = !piece.whole || isOpen() || !can.infill;
    find("vary").disabled = isOpen() || !can.vary;
    find("continue").disabled = isOpen() || !can.continue;
    const others = state.outputs.filter((one) => one.id !== output.id && one.status === "done" && !one.discarded);
    const isSource = (one) => one.id === output.asked?.source?.output;
    others.reverse().sort((one, other) => isSource(other) - isSource(one));
    offer(find("other"), others.map((one) => [one.id, `${title(one)}, ${origin(one, state.outputs)}`]));
    if (!hasChosenOther && others.length) find("other").selectedIndex = 0;
    find("switch").disabled = find("other").disabled = !others.length;
    for (const [kind, link] of [["mid", find("get-midi")], ["wav", find("get-wav")]]) {
      set(link, { href: output.status === "done" ? `/api/outputs/${output.id}.${kind}` : null, "aria-label": `Download ${title(output)} as ${kind === "mid" ? "MIDI" : "WAV"}` });
    }
    write(find("made-by"), `Number ${output.seed}. This line makes it again:`);
    write(find("command"), output.command ?? "");
    if (isOpen() && !piece.notes.length) show();
    else describe();
  }

  pieces.hear((changed) => {
    const isSource = output && changed.output === output.asked?.source?.output;
    if (changed !== piece && !(isSource && !piece.notes.length)) return;
    show();
    if (state) update(state);
  });
  transport.hear((what) => {
    if (!piece || transport.present() !== piece) return what !== "moved" && renameTools();
    roll.move(transport.position(), transport.playing());
    if (what !== "moved") renameTools();
  });
  return { update, select, selected: () => output };
}
