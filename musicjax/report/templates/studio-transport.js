// The transport: plays one piece at a time, also while it grows, and in a loop.
//
// A piece is {id, title, about, notes: [[onset, duration, pitch, velocity, program], ...] by onset, seconds, growing}, in
// seconds. What is played is a chain of stretches of it, each of which begins on the audio clock where the last one ends.

import { clock, instrument } from "./studio-words.js";
import { find, set, write } from "./studio-dom.js";

const MARGIN_SECONDS = 0.06, LATE_SECONDS = 1, LEAST_LOOP_SECONDS = 0.1;
const aheadSeconds = () => (document.hidden ? 1.5 : 0.4); // a hidden page's timer fires once a second
const hearers = new Set();
let piece = null, place = 0, loop = null, bus = null, timer = 0, waiting = false;
let stretches = [], next = 0; // `next`: the first note of the last stretch that the audio clock does not have

export const hear = (hearer) => hearers.add(hearer);
const tell = (what) => hearers.forEach((hearer) => hearer(what));
export const present = () => piece;
export const playing = () => bus !== null;
export const isPlaying = (id) => playing() && piece.id === id;

export function position() {
  if (!bus) return place;
  const now = sound.now(), stretch = stretches.findLast((one) => one.at <= now) ?? stretches[0];
  return Math.min(stretch.from + Math.max(now - stretch.at, 0), stretch.to);
}

const firstNote = (from, is = ([onset]) => onset >= from) => {
  const found = piece.notes.findIndex(is);
  return found < 0 ? piece.notes.length : found;
};

// Hands the audio clock what sounds next, and ends, or waits for more notes, where the piece has no more.
function schedule() {
  const now = sound.now(), until = now + aheadSeconds();
  for (;;) {
    const stretch = stretches[stretches.length - 1];
    if (!loop) stretch.to = piece.seconds;
    const ends = stretch.at + stretch.to - stretch.from;
    for (; next < piece.notes.length; next++) {
      const [onset, duration, pitch, velocity, program] = piece.notes[next];
      const at = stretch.at + onset - stretch.from;
      if (at >= until || onset >= stretch.to) break;
      const into = Math.max(stretch.from - onset, 0), held = Math.min(duration, stretch.to - onset) - into;
      if ((into > 0 && held <= 0.05) || Math.max(at, stretch.at) < now - LATE_SECONDS) continue; // after a stall
      sound.strike(bus, pitch, program, velocity, Math.max(at, sound.now()), held, into);
    }
    if (ends > until) return;
    if (loop) {
      stretches = [...stretches.slice(-1), { from: loop[0], to: loop[1], at: ends }];
      next = firstNote(loop[0]);
    } else if (ends > now) return;
    else if (piece.growing) {
      halt(piece.seconds, false); // what sounds may ring on
      waiting = true;
      return;
    } else {
      halt(0);
      tell("stopped");
      return;
    }
  }
}

function frame() {
  if (!bus) return;
  show();
  tell("moved");
  requestAnimationFrame(frame);
}

function halt(at, hush = true) {
  if (!bus) return;
  if (hush) sound.silence(bus);
  clearInterval(timer);
  bus = null;
  place = at;
  show();
}

export function play() {
  if (!piece || bus) return;
  if (!piece.growing && place >= piece.seconds - 0.02) place = 0;
  if (loop && (place < loop[0] || place >= loop[1] - 0.02)) [place] = loop;
  if (piece.growing && place >= piece.seconds) {
    waiting = true;
    return;
  }
  const resumes = waiting;
  waiting = false;
  sound.start();
  // To make its sounds takes longer than a chord may be late.
  for (const [onset, duration, pitch, , program] of piece.notes) {
    if (onset < place + 0.5 && onset + duration > place) sound.tone(pitch, program);
  }
  bus = sound.bus();
  stretches = [{ from: place, to: loop ? loop[1] : piece.seconds, at: sound.now() + MARGIN_SECONDS }];
  next = firstNote(place, ([onset, duration]) => (resumes ? onset >= place : onset + duration > place));
  timer = setInterval(schedule, 100);
  schedule();
  tell("started");
  requestAnimationFrame(frame);
}

export function pause() {
  waiting = false;
  halt(position());
  tell("stopped");
}

export const toggle = () => (bus || waiting ? pause() : play());

export function seek(seconds) {
  const again = bus !== null;
  halt(0);
  place = Math.min(Math.max(seconds, 0), piece?.seconds ?? 0);
  if (again) play();
  show();
  tell("moved");
}

// A stretch of the piece, [from, to] in seconds, that is played over and over; null, or one that is too short: none.
export function setLoop(range) {
  const again = bus !== null, at = position();
  loop = range && range[1] - range[0] >= LEAST_LOOP_SECONDS ? range : null;
  halt(at);
  if (again) play();
  set(find("loop"), { "aria-pressed": String(loop !== null) });
}

export const looping = () => loop;

// Takes another piece; `at`: the place in it, in seconds.
export function load(other, at = 0) {
  waiting = false;
  halt(0);
  if (other !== piece) loop = null;
  piece = other;
  place = at;
  set(find("loop"), { "aria-pressed": String(loop !== null) });
  find("dock").hidden = false;
  document.body.classList.add("docked");
  show();
  tell("loaded");
}

// Plays a piece, or pauses it if it is the one that sounds.
export function turn(other) {
  if (piece?.id === other.id && (bus || waiting)) return pause();
  if (piece?.id !== other.id) load(other);
  play();
}

// The present piece has more notes, or is whole.
export function grew() {
  if (waiting && piece.seconds > place) play();
  else if (!piece.growing) waiting = false;
  show();
}

function show() {
  const at = position(), button = find("toggle"), seek = find("seek");
  find("dock").classList.toggle("playing", playing());
  set(button, { "aria-label": `${playing() ? "Pause" : "Play"} ${piece.title}` });
  write(find("dock-title"), piece.title);
  write(find("dock-about"), piece.about || [...new Set(piece.notes.map((note) => note[4]))].slice(0, 3).map(instrument).join(", "));
  seek.max = Math.max(piece.seconds, 0.1);
  seek.value = at;
  set(seek, { "aria-valuetext": `${clock(at)} of ${clock(piece.seconds)}` });
  write(find("dock-time"), `${clock(at)} / ${clock(piece.seconds)}`);
}

find("toggle").addEventListener("click", toggle);
find("seek").addEventListener("input", (event) => seek(Number(event.target.value)));
find("volume").addEventListener("input", (event) => sound.setVolume(Number(event.target.value)));
