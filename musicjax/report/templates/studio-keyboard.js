// A small keyboard, on the page, under the letters, or by MIDI: what is played on it is a tune.

import { find, make, set, write } from "./studio-dom.js";
import { count } from "./studio-words.js";

const KEYS = 17, VELOCITY = 80, LEAST_SECONDS = 0.05, PREVIEW_SECONDS = 1.2, MIDDLE = 60;
const NAMES = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"];
const LETTERS = ["KeyA", "KeyW", "KeyS", "KeyE", "KeyD", "KeyF", "KeyT", "KeyG", "KeyY", "KeyH", "KeyU", "KeyJ", "KeyK", "KeyO", "KeyL"];

// Returns {notes}: the tune so far, [[onset, duration, pitch, velocity, program], ...] in seconds.
export function openKeyboard(page, changed) {
  const keyboard = find("keyboard"), held = new Map();
  let notes = [], began = 0, lowest = MIDDLE, current = 0, bus = null;

  const name = (pitch) => `${NAMES[pitch % 12]}${Math.floor(pitch / 12) - 1}`;
  const keys = Array.from({ length: KEYS }, (_, step) => {
    const key = make("button", { type: "button", class: NAMES[step % 12].length > 1 ? "black" : "white", tabindex: step ? "-1" : "0" });
    key.addEventListener("pointerdown", (event) => {
      key.setPointerCapture(event.pointerId);
      press(lowest + step, VELOCITY);
    });
    for (const end of ["pointerup", "pointercancel"]) key.addEventListener(end, () => release(lowest + step));
    key.addEventListener("click", (event) => { // by the space bar or Enter
      if (event.detail) return;
      press(lowest + step, VELOCITY);
      setTimeout(() => release(lowest + step), 300);
    });
    return key;
  });
  keyboard.append(...keys);

  function label() {
    keys.forEach((key, step) => {
      set(key, { "aria-label": name(lowest + step) });
      write(key, (lowest + step) % 12 ? "" : name(lowest + step));
    });
  }

  const light = (pitch, on) => keys[pitch - lowest]?.classList.toggle("down", on);

  function press(pitch, velocity) {
    if (held.has(pitch)) return;
    sound.start();
    bus ??= sound.bus();
    sound.strike(bus, pitch, 0, velocity, sound.now(), PREVIEW_SECONDS, 0);
    const now = performance.now();
    if (!notes.length && !held.size) began = now;
    held.set(pitch, { onset: (now - began) / 1000, velocity });
    light(pitch, true);
  }

  function release(pitch) {
    const { onset, velocity } = held.get(pitch) ?? {};
    if (!held.delete(pitch)) return;
    light(pitch, false);
    const duration = Math.max((performance.now() - began) / 1000 - onset, LEAST_SECONDS);
    notes = [...notes, [onset, duration, pitch, velocity, 0]].sort((one, other) => one[0] - other[0]);
    tell();
  }

  function tell() {
    const seconds = Math.max(...notes.map(([onset, duration]) => onset + duration), 0);
    write(find("played"), notes.length ? `${count(notes.length, "note")}, ${seconds.toFixed(1)} seconds` : "Press keys: what you play is kept. The letters A to L play too.");
    changed();
  }

  const isLetter = (event) => !event.ctrlKey && !event.metaKey && !event.altKey && LETTERS.includes(event.code);
  keyboard.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      event.preventDefault();
      set(keys[current], { tabindex: "-1" });
      current = (current + step + KEYS) % KEYS;
      set(keys[current], { tabindex: "0" });
      keys[current].focus();
    }
  });
  addEventListener("keydown", (event) => {
    if (!event.repeat && keyboard.offsetParent && isLetter(event) && !event.target.closest("input:not([type=range]), select")) press(lowest + LETTERS.indexOf(event.code), VELOCITY);
  });
  addEventListener("keyup", (event) => { if (LETTERS.includes(event.code)) release(lowest + LETTERS.indexOf(event.code)); });

  const move = (octaves) => {
    for (const pitch of [...held.keys()]) release(pitch);
    lowest = Math.min(Math.max(lowest + 12 * octaves, 24), 96);
    label();
  };
  find("lower").addEventListener("click", () => move(-1));
  find("higher").addEventListener("click", () => move(1));
  find("clear").addEventListener("click", () => { notes = []; tell(); });

  find("midi").hidden = !navigator.requestMIDIAccess;
  find("midi").addEventListener("click", () => page.attempt(async () => {
    const access = await navigator.requestMIDIAccess().catch(() => { throw new Error("The browser did not open a MIDI keyboard. Allow it in the address bar, then press again."); });
    const connect = () => {
      for (const input of access.inputs.values()) {
        input.onmidimessage = ({ data: [status, pitch, velocity] }) => {
          if (status >> 4 === 9 && velocity) press(pitch, velocity);
          else if (status >> 4 === 8 || status >> 4 === 9) release(pitch);
        };
      }
      const names = [...access.inputs.values()].map((input) => input.name);
      write(find("played"), names.length ? `Play on ${names.join(", ")}.` : "No MIDI keyboard is connected. Connect one and it will be found.");
    };
    access.onstatechange = connect;
    connect();
  }));

  label();
  return { notes: () => notes };
}
