// The trail: every output, the newest first, and how it came about.

import { find, list, make, playButton, set, write } from "./studio-dom.js";
import { origin, title } from "./studio-words.js";
import * as pieces from "./studio-pieces.js";
import * as transport from "./studio-transport.js";

const STATUS = { waiting: "waits", composing: "is being written", cancelled: "cancelled", failed: "failed" };

// `select` puts an output on the stage, and `selected` is the one that is there.
export function openTrail(select, selected) {
  let state = null;
  const byId = (id) => state.outputs.find((one) => one.id === id);

  function create({ id }) {
    const play = playButton("", () => {
      select(byId(id));
      transport.turn(pieces.ofOutput(byId(id)));
      update(state);
    });
    const choose = make("button", { class: "choose", type: "button", onclick: () => { select(byId(id)); update(state); } }, make("b"), make("span"));
    return make("li", { class: "item" }, play, choose, make("span", { class: "tag" }));
  }

  function fill(item, output) {
    const [play, choose, tag] = item.children, sounds = transport.isPlaying(pieces.ofOutput(output).id);
    item.classList.toggle("playing", sounds);
    item.classList.toggle("gone", Boolean(output.discarded));
    set(play, { "aria-label": `${sounds ? "Pause" : "Play"} ${title(output)}` });
    set(choose, { "aria-current": output.id === selected()?.id ? "true" : null });
    write(choose.firstChild, title(output));
    write(choose.lastChild, origin(output, state.outputs));
    write(tag, [STATUS[output.status], output.favourite ? "♥" : "", output.kept ? "kept" : "", output.discarded ? "discarded" : ""].filter(Boolean).join(" "));
  }

  function update(told) {
    state = told;
    const shown = state.outputs.filter((one) => find("show-discarded").checked || !one.discarded).reverse();
    list(find("outputs"), shown, (one) => one.id, create, fill);
    find("no-outputs").hidden = shown.length > 0;
  }

  find("show-discarded").addEventListener("change", () => { if (state) update(state); });
  transport.hear((what) => { if (state && what !== "moved") update(state); });
  return { update };
}
