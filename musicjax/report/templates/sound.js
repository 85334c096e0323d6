"use strict";
// Sound: a tone is a sum of partials, made once for each pitch and timbre; a note is a tone with a velocity and an end.
const sound = (() => {
const PARTIALS = [1, 0.55, 0.3, 0.18, 0.1, 0.06, 0.04], TONE_SECONDS = 3, RELEASE_SECONDS = 0.06;
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
let volume = 80; // percent

function setVolume(percent) {
  volume = percent;
  if (master) master.gain.value = 0.5 * (volume / 100) ** 2;
}

function start() {
  if (!context) {
    context = new AudioContext();
    master = context.createGain();
    master.connect(context.createDynamicsCompressor()).connect(context.destination);
    setVolume(volume);
  }
  context.resume();
}

const now = () => context.currentTime;

// What some notes sound through, so that they can be silenced together.
function bus() {
  const gain = context.createGain();
  gain.connect(master);
  return gain;
}

function silence(bus) {
  bus.gain.setTargetAtTime(0, context.currentTime, 0.02);
  setTimeout(() => bus.disconnect(), 200);
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

return { DRUMS, start, now, bus, silence, tone, strike, setVolume };
})();
