"use strict";
(() => {
const data = JSON.parse(document.getElementById("numbers").textContent);

// Curves: the values at the epoch that is pointed at, or stepped to with the arrow keys. To a screen reader a curve is a
// slider, whose keys it passes on.

document.querySelectorAll(".plot").forEach((plot, number) => {
  const { first, last, low, high, log, epochs, series } = data.charts[number];
  const readout = plot.parentElement.querySelector(".readout"), cursor = plot.querySelector(".cursor");
  const scale = log ? Math.log : (value) => value;
  const height = (value) => 100 * (1 - (scale(value) - scale(low)) / (scale(high) - scale(low)));
  const dots = [...plot.querySelectorAll(".dot")];
  let place = epochs.length - 1;
  const tell = () => {
    const said = series.map(({ label, values }) => `${label} ${values[place] ?? "no number"}`);
    const text = `epoch ${epochs[place]}: ${said.join(", ")}`;
    plot.setAttribute("aria-valuenow", epochs[place]);
    plot.setAttribute("aria-valuetext", text);
    return text;
  };
  const show = () => {
    const x = `${100 * (epochs[place] - first) / (last - first)}%`;
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    series.forEach(({ values }, k) => {
      const value = values[place];
      dots[k].setAttribute("cx", x);
      dots[k].setAttribute("cy", value === null ? "-999" : `${height(value)}%`);
    });
    readout.textContent = tell();
    plot.classList.add("asked");
  };
  const hide = () => { plot.classList.remove("asked"); readout.textContent = ""; };
  const point = (event) => {
    const box = plot.getBoundingClientRect();
    const epoch = first + (event.clientX - box.left) / box.width * (last - first);
    place = epochs.reduce((best, each, k) => (Math.abs(each - epoch) < Math.abs(epochs[best] - epoch) ? k : best), 0);
    show();
  };
  plot.addEventListener("pointermove", point);
  plot.addEventListener("pointerdown", point);
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("focus", show);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const down = place - 1, up = place + 1, end = epochs.length - 1;
    const to = { ArrowLeft: down, ArrowDown: down, ArrowRight: up, ArrowUp: up, Home: 0, End: end }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    place = Math.min(Math.max(to, 0), end);
    show();
  });
  plot.setAttribute("role", "slider");
  plot.setAttribute("tabindex", "0");
  plot.setAttribute("aria-valuemin", epochs[0]);
  plot.setAttribute("aria-valuemax", epochs[epochs.length - 1]);
  tell();
});

// Sound: a tone is a sum of partials, made once for each pitch and timbre; a note is a tone with a velocity and an end.

const PARTIALS = [1, 0.55, 0.3, 0.18, 0.1, 0.06, 0.04], TONE_SECONDS = 3, RELEASE_SECONDS = 0.06;
const AHEAD_SECONDS = 1.5; // a hidden page's timer fires once a second
const volume = document.querySelector(".volume input");
// What is blown or bowed sounds as long as it is held. What is struck or plucked, and a drum, dies away.
const HELD = {
  organ: { partials: [1, 0.5, 0.4, 0.3, 0, 0.2, 0, 0.2], level: 0.3, attack: 0.01 },
  bowed: { partials: [1, 0.5, 0.33, 0.25, 0.2, 0.17, 0.14, 0.12], level: 0.3, attack: 0.07 },
  brass: { partials: [1, 0.8, 0.6, 0.45, 0.35, 0.25, 0.2, 0.15], level: 0.25, attack: 0.03 },
  reed: { partials: [1, 0.1, 0.5, 0.1, 0.3, 0.05, 0.2], level: 0.3, attack: 0.02 },
  pipe: { partials: [1, 0.15, 0.08, 0.02], level: 0.45, attack: 0.03 },
  synth: { partials: [1, 0, 0.33, 0, 0.2, 0, 0.14, 0, 0.11], level: 0.3, attack: 0.02 },
};
// The timbre of each of the sixteen families of General MIDI.
const FAMILIES = ["piano", "bell", "organ", "plucked", "bass", "bowed", "bowed", "brass",
  "reed", "pipe", "synth", "synth", "synth", "plucked", "bell", "synth"];
const STRUCK = { // beside the piano: how strong each further partial is, and how fast all of them decay
  piano: { brightness: 1, haste: 1 },
  plucked: { brightness: 1.15, haste: 1.8 },
  bell: { brightness: 0.7, haste: 1.5 },
  bass: { brightness: 0.8, haste: 1.3 },
};
const DRUMS = 128;
const tones = new Map();
let context = null, master = null;

const setVolume = () => { if (master) master.gain.value = 0.5 * (volume.value / 100) ** 2; };

function start() {
  if (!context) {
    context = new AudioContext();
    master = context.createGain();
    master.connect(context.createDynamicsCompressor()).connect(context.destination);
    setVolume();
  }
  context.resume();
}

const timbre = (program) => (program === DRUMS ? "drum" : FAMILIES[program >> 3]);

function tone(pitch, program) {
  const kind = timbre(program), name = `${kind} ${pitch}`;
  if (tones.has(name)) return tones.get(name);
  const rate = context.sampleRate, length = TONE_SECONDS * rate;
  const buffer = context.createBuffer(1, length, rate), samples = buffer.getChannelData(0);
  if (kind === "drum") drum(samples, pitch, rate);
  else if (HELD[kind]) hold(samples, pitch, rate, HELD[kind]);
  else ring(samples, pitch, rate, STRUCK[kind]);
  tones.set(name, buffer);
  return buffer;
}

function ring(samples, pitch, rate, { brightness, haste }) {
  const length = samples.length;
  PARTIALS.forEach((amplitude, k) => {
    const hertz = 440 * 2 ** ((pitch - 69) / 12) * (k + 1) * Math.sqrt(1 + 4e-4 * (k + 1) ** 2); // a stiff string
    if (hertz > 0.45 * rate) return;
    const angle = 2 * Math.PI * hertz / rate, decay = Math.exp(-haste * (0.9 + hertz / 600) / rate);
    // decay^n sin(angle n) is a recurrence of two terms.
    const once = 2 * decay * Math.cos(angle), twice = decay * decay;
    let before = 0, now = amplitude * brightness ** k * decay * Math.sin(angle);
    for (let n = 0; n < length; n++) {
      samples[n] += before * (1 - n / length);
      const next = once * now - twice * before;
      before = now;
      now = next;
    }
  });
}

function hold(samples, pitch, rate, { partials, level }) {
  // A whole number of periods, so that it can be played in a loop.
  const fundamental = Math.round(440 * 2 ** ((pitch - 69) / 12) * TONE_SECONDS) / TONE_SECONDS;
  partials.forEach((amplitude, k) => {
    if (!amplitude || fundamental * (k + 1) > 0.45 * rate) return;
    const angle = 2 * Math.PI * fundamental * (k + 1) / rate, twice = 2 * Math.cos(angle);
    let before = 0, now = level * amplitude * Math.sin(angle);
    for (let n = 0; n < samples.length; n++) {
      samples[n] += before;
      [before, now] = [now, twice * now - before];
    }
  });
}

function drum(samples, pitch, rate) {
  const low = pitch === 35 || pitch === 36, tom = [41, 43, 45, 47, 48, 50].includes(pitch);
  const snare = pitch >= 37 && pitch <= 40, hat = pitch === 42 || pitch === 44;
  const ringing = [46, 49, 51, 52, 53, 55, 57, 59].includes(pitch);
  const seconds = low ? 0.11 : tom ? 0.18 : snare ? 0.09 : hat ? 0.035 : ringing ? 0.35 : 0.05;
  const hertz = low ? 48 : tom ? 70 + 8 * (pitch - 41) : 185;
  const hum = low || tom ? 1 : snare ? 0.35 : 0, hiss = low || tom ? 0.03 : 0.4;
  let seed = 1, before = 0;
  for (let n = 0; n < samples.length; n++) {
    seed = (1664525 * seed + 1013904223) % 4294967296; // noise that is the same on every page
    const noise = seed / 2147483648 - 1, at = n / rate;
    const wave = Math.sin(2 * Math.PI * hertz * (at + 0.09 * (1 - Math.exp(-at / 0.03))));
    const bright = hat || ringing ? noise - before : noise;
    samples[n] = (hum * wave + hiss * bright) * Math.exp(-at / seconds);
    before = noise;
  }
}

function strike(bus, pitch, program, velocity, at, held, into) {
  const source = context.createBufferSource(), loudness = context.createGain();
  const steady = HELD[timbre(program)], seconds = program === DRUMS ? TONE_SECONDS - into : held;
  source.buffer = tone(pitch, program);
  source.loop = Boolean(steady);
  const attack = steady ? Math.min(steady.attack, Math.max(seconds, 0.05) / 2) : 0.004;
  loudness.gain.setValueAtTime(0, at);
  loudness.gain.linearRampToValueAtTime((velocity / 127) ** 1.5, at + attack);
  loudness.gain.setTargetAtTime(0, at + Math.max(seconds, 0.05), RELEASE_SECONDS);
  source.connect(loudness).connect(bus);
  source.start(at, into);
  source.stop(at + Math.max(seconds, 0.05) + 6 * RELEASE_SECONDS);
  source.onended = () => loudness.disconnect();
}

// Players: one sounds at a time; each keeps its place.

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
let sounding = null;

document.querySelectorAll(".sample").forEach((card, number) => {
  const { onset, duration, pitch, velocity, program = pitch.map(() => 0) } = data.samples[number]; // milliseconds
  if (!onset.length) return;
  const end = onset.reduce((latest, from, k) => Math.max(latest, from + duration[k]), 1) / 1000;
  const [play, seek, time, roll, scroll, playhead, lit] =
    [".play", ".seek", ".time", ".notes", ".scroll", ".playhead", ".now"].map((one) => card.querySelector(one));
  const name = card.querySelector("h3").textContent, top = Number(roll.dataset.top);
  let position = 0, origin = 0, next = 0, bus = null, timer = 0;

  const draw = () => {
    const share = `${100 * position / end}%`, at = 1000 * position;
    playhead.setAttribute("x1", share);
    playhead.setAttribute("x2", share);
    seek.value = position;
    seek.setAttribute("aria-valuetext", `${clock(position)} of ${clock(end)}`);
    time.textContent = `${clock(position)} / ${clock(end)}`;
    let path = "";
    for (let k = 0; bus && k < onset.length && onset[k] <= at; k++) {
      if (onset[k] + duration[k] > at) path += `M${onset[k]} ${top - pitch[k]}h${duration[k]}`;
    }
    lit.setAttribute("d", path);
  };
  const schedule = () => {
    const until = context.currentTime - origin + AHEAD_SECONDS;
    for (; next < onset.length && onset[next] / 1000 < until; next++) {
      const into = Math.max(position - onset[next] / 1000, 0), seconds = duration[next] / 1000 - into;
      if (into > 0 && seconds <= 0.05) continue; // over, where a seek has led to
      const at = Math.max(origin + onset[next] / 1000, context.currentTime);
      strike(bus, pitch[next], program[next], velocity[next], at, seconds, into);
    }
    if (context.currentTime - origin > end + 0.3) { stop(); position = 0; draw(); }
  };
  const frame = () => {
    if (!bus) return;
    position = Math.min(Math.max(context.currentTime - origin, 0), end);
    draw();
    const x = position / end * roll.clientWidth;
    if (x < scroll.scrollLeft || x > scroll.scrollLeft + 0.9 * scroll.clientWidth) scroll.scrollLeft = x - 20;
    requestAnimationFrame(frame);
  };
  const stop = () => {
    if (!bus) return;
    const silent = bus;
    silent.gain.setTargetAtTime(0, context.currentTime, 0.02);
    setTimeout(() => silent.disconnect(), 200);
    clearInterval(timer);
    bus = sounding = null;
    card.classList.remove("playing");
    play.setAttribute("aria-label", `Play ${name}`);
    draw();
  };
  const begin = () => {
    if (sounding) sounding();
    start();
    bus = context.createGain();
    bus.connect(master);
    sounding = stop;
    // Making its sounds takes longer than a chord may be late.
    onset.forEach((from, k) => {
      if (from < 1000 * (position + AHEAD_SECONDS) && from + duration[k] > 1000 * position) tone(pitch[k], program[k]);
    });
    origin = context.currentTime + 0.05 - position;
    next = 0;
    schedule();
    timer = setInterval(schedule, 200);
    card.classList.add("playing");
    play.setAttribute("aria-label", `Pause ${name}`);
    requestAnimationFrame(frame);
  };
  const go = (seconds) => {
    const again = bus !== null;
    stop();
    position = Math.min(Math.max(seconds, 0), end);
    if (again) begin();
    draw();
  };
  play.disabled = seek.disabled = false;
  play.addEventListener("click", () => {
    if (bus) stop();
    else { if (position >= end) position = 0; begin(); }
  });
  seek.addEventListener("input", () => go(Number(seek.value)));
  roll.addEventListener("click", (event) => {
    const box = roll.getBoundingClientRect();
    go((event.clientX - box.left) / box.width * end);
  });
  draw();
});
if (volume) volume.addEventListener("input", setVolume);
})();
