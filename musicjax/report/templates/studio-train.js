// The part that teaches: a run is started, watched, paused, and listened to while it learns.

import { find, list, make, offer, set, write } from "./studio-dom.js";
import { get, post } from "./studio-server.js";
import { capital, count, minutes, number } from "./studio-words.js";
import * as pieces from "./studio-pieces.js";
import * as transport from "./studio-transport.js";

const STATUS = { starting: "it starts", reading: "it reads the music", training: "it learns", paused: "paused", finished: "it has learned", failed: "it failed" };
const LIVE = ["starting", "reading", "training"];
const ACTS = { pause: ["Pause", LIVE], continue: ["Go on", ["paused", "failed"]], stop: ["Stop", [...LIVE, "paused"]] };
const LITTLE_ROOM_BYTES = 5e8;
const WIDTH = 300, HEIGHT = 110; // of a curve, in its own units

export function openTrain(page) {
  let state = null;
  const told = new Map(); // by run: what was asked when it stood as it stands

  find("teach").addEventListener("submit", (event) => {
    event.preventDefault();
    page.attempt(async () => {
      const data = find("learn-from").value, name = find("run-name").value.trim();
      if (!data) throw new Error("There is no music to learn from yet. Bring some under Data.");
      await post("runs", { data, minutes: Number(find("minutes").value), ...(name && { name }) });
      find("run-name").value = "";
      page.say("It starts");
    });
  });
  for (const button of document.querySelectorAll("[data-minutes]")) {
    button.addEventListener("click", () => {
      find("minutes").value = button.dataset.minutes;
      press();
    });
  }
  function press() {
    for (const button of document.querySelectorAll("[data-minutes]")) set(button, { "aria-pressed": String(Number(button.dataset.minutes) === Number(find("minutes").value)) });
  }
  find("minutes").addEventListener("input", press);
  press();

  function create(run) {
    const curve = make("svg", { class: "learning", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
      make("polyline", { class: "curve train" }), make("polyline", { class: "curve valid" }));
    const acts = Object.entries(ACTS).map(([act, [label]]) => make("button", { class: "plain", type: "button", "data-act": act, onclick: () => page.attempt(() => post(`runs/${run.id}/${act}`)) }, label));
    const use = make("button", { class: "plain strong", type: "button", onclick: () => page.use(run.id) }, "Compose with it");
    const again = make("button", { class: "plain", type: "button", onclick: () => {
      find("learn-from").value = run.data;
      find("minutes").focus();
    } }, "Teach another");
    return make("li", { class: "card run" },
      make("header", { class: "stage-head" }, make("div", { class: "title" }, make("h3"), make("p")), make("div", { class: "row" }, ...acts, use, again)),
      make("progress", { max: "1" }),
      make("figure", { class: "lone" }, curve, make("figcaption", { class: "note" })),
      make("div", { class: "heard" }, make("h4", {}, "What it has written so far"), make("div", { class: "chips" })),
      make("details", {}, make("summary", {}, "Messages"), make("pre", { tabindex: "0" })));
  }

  function fill(card, run) {
    const [head, progress, figure, heard, details] = card.children, [title, row] = head.children;
    write(title.firstChild, run.name);
    write(title.lastChild, sentence(run));
    const [use, again] = [...row.children].slice(-2);
    use.hidden = !run.has_model;
    const hasMusic = state.data.some((one) => one.id === run.data && one.status === "ready");
    again.hidden = !(hasEnded(run) && hasMusic);
    for (const button of row.children) {
      const { act } = button.dataset;
      if (act) button.hidden = !(ACTS[act][1].includes(run.status) || (act === "continue" && wasStopped(run) && hasMusic));
      set(button, { "aria-label": `${button.textContent}: ${run.name}` });
    }
    const learned = run.status === "finished" ? 1 : shareOf(run);
    progress.hidden = learned === null || run.status === "finished";
    set(progress, { value: learned ?? 0, "aria-label": `${run.name}, how far it has come` });
    heard.hidden = !run.samples.length;
    list(heard.lastChild, run.samples.slice(-8).reverse(), (one) => one.id,
      (one) => make("button", { class: "plain", type: "button", onclick: () => page.attempt(async () => transport.turn(await pieces.piece(`outputs/${one.id}`, `${run.name}, round ${one.epoch}`))) }),
      (button, one) => {
        const sounds = transport.isPlaying(`outputs/${one.id}`);
        write(button, `${sounds ? "❚❚" : "▶"} round ${one.epoch}`);
        set(button, { "aria-label": `${sounds ? "Pause" : "Play"} what ${run.name} wrote in round ${one.epoch}` });
      });
    const seen = told.get(run.id), stands = `${run.status} ${run.epoch} ${run.message}`;
    if (seen?.stands !== stands) {
      told.set(run.id, { ...seen, stands });
      get(`runs/${run.id}`).then((whole) => {
        told.set(run.id, { stands, whole });
        draw(figure, run, whole.curve);
        write(details.lastChild, whole.console.join("\n"));
        details.hidden = !whole.console.length;
      }, () => told.delete(run.id));
    }
    figure.hidden = !(seen?.whole?.curve.length > 1);
  }

  // How much of its time or of its epochs a run has used, 0 to 1; null if that is not known.
  function shareOf(run) {
    if (run.seconds_left !== null && run.minutes) return Math.min(Math.max(1 - run.seconds_left / (60 * run.minutes), 0), 1);
    return run.epochs ? run.epoch / run.epochs : null;
  }

  // A run that was stopped before its end says so, and can go on; one that came to its end has learned all it will.
  const wasStopped = (run) => Boolean(run.was_stopped);
  const hasEnded = (run) => run.status === "finished" && !wasStopped(run);

  function stands(run) {
    if (LIVE.includes(run.status) && run.stage) return `it ${run.stage}`;
    if (wasStopped(run)) return "stopped";
    return (run.status !== "training" && run.message) || (STATUS[run.status] ?? run.status);
  }

  function sentence(run) {
    const ended = hasEnded(run) && run.epoch && !run.message ? ` in ${count(run.epoch, "round")}` : "", said = stands(run) + ended, parts = [];
    const learns = !LIVE.includes(run.status) || !run.stage || run.stage === "learns"; // no other stage has rounds
    if (run.epoch && learns && !ended) parts.push(`round ${run.epoch}${run.epochs ? ` of ${run.epochs}` : ""}`);
    if (LIVE.includes(run.status) && Number.isFinite(run.seconds_left)) parts.push(`${minutes(run.seconds_left)} left`);
    const told = said.endsWith(".") ? [said, capital(parts.join(", "))].join(" ").trim() : capital([said, ...parts].join(", "));
    return hasEnded(run) ? `${told.replace(/\.$/, "")}. To learn more, teach another model for more minutes.` : told;
  }

  function draw(figure, run, curve) {
    figure.hidden = curve.length < 2;
    if (figure.hidden) return;
    const values = curve.flatMap(({ train, valid }) => [train, valid]).filter(Number.isFinite);
    const low = Math.min(...values), high = Math.max(...values), first = curve[0].epoch, last = curve[curve.length - 1].epoch;
    const points = (field) => curve.filter((one) => Number.isFinite(one[field])).map((one) =>
      `${(WIDTH * (one.epoch - first) / (last - first)).toFixed(1)},${(4 + (HEIGHT - 8) * (high - one[field]) / (high - low || 1)).toFixed(1)}`).join(" ");
    const [svg, caption] = figure.children;
    set(svg.children[0], { points: points("train") });
    set(svg.children[1], { points: points("valid") });
    set(svg, { "aria-label": `How ${run.name} learns: from ${high.toFixed(2)} down to ${low.toFixed(2)}, lower is better` });
    if (!caption.children.length) {
      const key = (kind, text) => [make("svg", { class: "swatch", "aria-hidden": "true" }, make("line", { class: kind, x2: "100%", y1: "2", y2: "2" })), text];
      caption.append(...key("train", "how much its music still surprises it; "), ...key("valid", "the same for music that it does not see"));
    }
  }

  function update(now) {
    state = now;
    const ready = state.data.filter((one) => one.status === "ready");
    offer(find("learn-from"), ready.map((one) => [one.id, one.name]));
    find("start").disabled = !ready.length;
    list(find("runs"), [...state.runs].reverse(), (one) => one.id, create, fill);
    find("no-runs").hidden = state.runs.length > 0;
    write(find("room"), state.disk_free_bytes < LITTLE_ROOM_BYTES
      ? `Only ${Math.round(state.disk_free_bytes / 1e6)} MB of disk space are free: make room before you start.`
      : "Training continues after you close this page.");
    const learning = state.runs.filter((one) => one.status === "training").length;
    find("learning").hidden = !learning;
    set(find("learning"), { role: "img", "aria-label": `, ${number(learning)} at work` });
    write(find("learning"), String(learning));
  }
  transport.hear((what) => { if (state && what !== "moved") update(state); });

  return { update };
}
