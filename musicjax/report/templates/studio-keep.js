// The part for what is kept: pieces to hear again and to take away.

import { find, list, make, playButton, set, swatch, write } from "./studio-dom.js";
import { get, post } from "./studio-server.js";
import { barsOf, openRoll, shade } from "./studio-roll.js";
import { capital, clock, instrument, likeness, nature, origin, title } from "./studio-words.js";
import * as pieces from "./studio-pieces.js";
import * as transport from "./studio-transport.js";

export function openKeep(page) {
  let state = null;
  const rolls = new Map(), copies = new Map(); // by output

  function create(output) {
    const id = output.id, one = () => state.outputs.find((each) => each.id === id);
    const canvas = make("canvas", { class: "canvas low", role: "img" });
    const heart = make("button", { class: "plain", type: "button", onclick: () => page.attempt(() => post(`outputs/${id}/favourite`)) }, make("span", { "aria-hidden": "true" }, "♥"));
    const letGo = make("button", { class: "plain", type: "button", onclick: () => page.attempt(() => post(`outputs/${id}/keep`)) });
    const link = (kind, label) => make("a", { class: "plain", href: `/api/outputs/${id}.${kind}`, download: true, "aria-label": `Download ${title(output)} as ${label}` }, label);
    const rework = make("button", { class: "plain", type: "button", onclick: () => page.show(one()) }, "Work on it");
    const card = make("li", { class: "card kept" },
      make("header", { class: "stage-head" }, playButton("", () => transport.turn(pieces.ofOutput(one()))), make("div", { class: "title" }, make("h3"), make("p")), heart),
      make("div", { class: "paper", tabindex: "0", role: "group", "aria-label": `Piano roll of ${title(output)}` }, canvas),
      make("ul", { class: "legend" }), make("p", { class: "copied", hidden: true }),
      make("div", { class: "row" }, link("mid", "MIDI"), link("wav", "WAV"), rework, letGo));
    rolls.set(id, openRoll(canvas, { seek: (seconds) => {
      const piece = pieces.ofOutput(one());
      if (transport.present() !== piece) transport.load(piece);
      transport.seek(seconds);
    } }));
    return card;
  }

  function fill(card, output) {
    const [head, , legend, copied, row] = card.children, [play, words, heart] = head.children, piece = pieces.ofOutput(output);
    const sounds = transport.isPlaying(piece.id);
    card.classList.toggle("playing", sounds);
    set(play, { "aria-label": `${sounds ? "Pause" : "Play"} ${title(output)}` });
    write(words.firstChild, title(output));
    write(words.lastChild, [capital(origin(output, state.outputs)), nature(piece), clock(piece.seconds)].filter(Boolean).join("; "));
    set(heart, { "aria-pressed": String(Boolean(output.favourite)), "aria-label": `Favourite: ${title(output)}` });
    write(row.lastChild, output.kept ? "Let go" : "Keep");
    set(row.lastChild, { "aria-label": `${row.lastChild.textContent}: ${title(output)}` });
    set(row.children[2], { "aria-label": `Work on ${title(output)}` });
    list(legend, rolls.get(output.id).show(piece), (program) => program, (program) => make("li", {}, swatch(shade(program)), instrument(program)), () => {});
    if (!copies.has(output.id)) {
      copies.set(output.id, null);
      get(`outputs/${output.id}/copies`).then((told) => {
        copies.set(output.id, told);
        update(state);
      }, () => copies.delete(output.id));
    }
    const told = copies.get(output.id);
    copied.hidden = !(told?.piece && piece.whole);
    if (copied.hidden) return;
    write(copied, `${likeness(barsOf(piece, told.seconds), told.piece)}.`);
    rolls.get(output.id).setCopied(told.seconds);
  }

  function update(told) {
    state = told;
    if (find("part-keep").hidden) return; // a canvas that is not seen has no size
    const favourites = find("only-favourites").checked;
    const kept = state.outputs.filter((one) => one.status === "done" && !one.discarded && (one.kept || one.favourite));
    const shown = kept.filter((one) => one.favourite || !favourites);
    list(find("kept"), shown.reverse(), (one) => one.id, create, fill);
    for (const id of rolls.keys()) if (!shown.some((one) => one.id === id)) rolls.delete(id);
    find("none-kept").hidden = shown.length > 0;
    set(find("session"), { href: kept.length ? "/api/session.zip" : null });
  }

  find("only-favourites").addEventListener("change", () => update(state));
  pieces.hear(() => { if (state) update(state); });
  transport.hear((what) => {
    if (!state || find("part-keep").hidden) return;
    if (what !== "moved") update(state);
    const present = transport.present();
    rolls.get(present.output)?.move(transport.position(), transport.playing());
  });
  return { update };
}
