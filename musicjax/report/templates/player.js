// Plays what the model composes, piece after piece. Times are in steps of the model's grid since the page began, until
// they meet the audio clock.

(() => {
const told = JSON.parse(document.getElementById("constants").textContent), { at, stepsPerBeat } = told;
const model = openModel(told, unpackWeights(document.getElementById("weights").textContent, told.shapes));
const [play, skip, save, roll, status, place, key, meter, unit, length, onward, tempo, temperature, instrument, volume] =
  ["play", "skip", "save", "roll", "piece", "place", "key", "meter", "unit", "length", "onward", "tempo", "temperature",
    "instrument", "volume"].map((name) => document.getElementById(name));
const { DRUMS } = sound, MARGIN_SECONDS = 0.1, LATE_SECONDS = 0.1;
// How far ahead notes are composed, and handed to the audio clock: further where the timer fires once a second.
const composedSeconds = 4, handedSeconds = () => (document.hidden ? 1.5 : 0.3);

// Chance: the same seed after # in the address gives the same music.

function chance(seed) { // mulberry32: 32 bits of state
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const SEEDS = 2 ** 32, given = /^#(\d+)$/.exec(location.hash);
let seed = given ? Number(given[1]) % SEEDS : crypto.getRandomValues(new Uint32Array(1))[0] % 1000000;

// Pieces.

const pieces = []; // those that sound or are to come, the present one first
const wish = () => ({
  temperature: Number(temperature.value), topP: told.topP, minP: told.minP, noRepeat: told.noRepeat, stopLoops: told.stopLoops,
});
const wishedKey = () => (key.value ? key.value.split(" ").map(Number) : null);

// What a piece is to be: what is wished, and the rest as in one of the training pieces, as encodings/event_plans.py has it.
function planned(random) {
  const wished = wishedKey(), those = (some, others) => (some.length ? some : others);
  let fitting = told.openings;
  if (meter.value) {
    const wanted = Number(meter.value);
    fitting = those(fitting.filter((one) => one[2] === wanted), fitting.map(([tonic, mode, , bars]) => [tonic, mode, wanted, bars]));
  }
  if (wished) fitting = those(fitting.filter((one) => one[1] === wished[1]), fitting);
  const [tonic, mode, inMeter, bars] = fitting[Math.floor(random() * fitting.length)];
  const [ownTonic, ownMode] = wished ?? [tonic, mode];
  return { tonic: ownTonic, mode: ownMode, meter: inMeter, bars: wishedBars(inMeter) ?? bars };
}

// How many of the model's bars have the wished length, which ends with a bar of the meter.
function wishedBars(inMeter) {
  if (!unit.value) return null;
  const [numerator, denominator] = told.meters[inMeter], beatsPerBar = 4 * numerator / denominator;
  const cycles = Math.max(Math.round(beatsPerBar * stepsPerBeat / told.stepsPerBar[inMeter]), 1), wished = Number(length.value);
  const bars = unit.value === "bars" ? wished : wished * Number(tempo.value) / 60 / beatsPerBar;
  return Math.max(Math.ceil(bars - 1e-6), 1) * cycles;
}

// A piece that begins at a step of the page's time.
function begin(from) {
  const random = chance(seed), plan = planned(random), own = seed;
  seed = (seed + 1) % SEEDS;
  return { seed: own, plan, from, length: plan.bars * told.stepsPerBar[plan.meter], notes: [], handed: 0, ended: false, composer: model.compose(plan, wish, random) };
}

// The next note of a piece; or it has ended.
function composeNote(piece) {
  const note = piece.composer.next();
  if (!note) {
    piece.ended = true;
    return;
  }
  const { row, step } = note, drums = told.isDrums[row[at.instrument]];
  const length = Math.min(told.durations[row[at.duration]] * stepsPerBeat, piece.length - step); // none sounds beyond the end
  piece.notes.push({
    step, length, drums, pitch: row[at.pitch], velocity: told.velocities[row[at.velocity]], program: told.programs[row[at.instrument]],
  });
}

// The pitch as it sounds: what is written in C moves to the tonic, up or down, whichever is nearer.
function sounding(note, { plan }) {
  if (note.drums) return note.pitch;
  const moved = note.pitch + (plan.tonic > 6 ? plan.tonic - 12 : plan.tonic);
  return moved < 0 ? moved + 12 : moved > 127 ? moved - 12 : moved;
}

const programOf = (note) => (note.drums ? DRUMS : instrument.value ? Number(instrument.value) : note.program);

// Time.

let step = 0, seconds = 0; // a step of the page's time, and when the audio clock reaches it
let bus = null, timer = 0, drawing = 0;
const secondsPerStep = () => 60 / Number(tempo.value) / stepsPerBeat;
const stepNow = () => (bus ? step + (sound.now() - seconds) / secondsPerStep() : step);
const whenSounds = (at) => seconds + (at - step) * secondsPerStep();

// Composes what is to come in the next seconds.
function composeAhead() {
  const until = stepNow() + composedSeconds / secondsPerStep();
  for (let last = pieces[pieces.length - 1]; ;) {
    const reached = last.notes.length ? last.notes[last.notes.length - 1].step : 0;
    if (last.from + (last.ended ? last.length : reached) > until) break;
    if (!last.ended) composeNote(last);
    else if (!onward.checked) break;
    else { // a bar of rest between pieces
      last = begin(last.from + last.length + told.stepsPerBar[last.plan.meter]);
      pieces.push(last);
    }
  }
}

// Makes the tones of what sounds next, before the clock is set: it takes longer than a note may be late.
function makeTones() {
  const now = stepNow(), ahead = now + handedSeconds() / secondsPerStep();
  for (const piece of pieces) {
    for (const note of piece.notes) {
      const at = piece.from + note.step;
      if (now <= at && at < ahead) sound.tone(sounding(note, piece), programOf(note));
    }
  }
}

// Goes on to the next piece where its time has come, and hands the audio clock what sounds next.
function tick() {
  const now = stepNow(), [piece] = pieces;
  if (!onward.checked && piece.ended && now >= piece.from + piece.length) {
    stop();
    return void renew();
  }
  while (pieces.length > 1 && pieces[1].from <= now) {
    pieces.shift();
    announce();
  }
  composeAhead();
  const ahead = now + handedSeconds() / secondsPerStep();
  for (const piece of pieces) { // `handed` of its notes are with the audio clock
    for (; piece.handed < piece.notes.length && piece.from + piece.notes[piece.handed].step < ahead; piece.handed++) {
      const note = piece.notes[piece.handed], when = whenSounds(piece.from + note.step);
      if (when < sound.now() - LATE_SECONDS) continue; // after a stall, what is missed is left out
      const seconds = note.length * secondsPerStep();
      sound.strike(bus, sounding(note, piece), programOf(note), note.velocity, Math.max(when, sound.now()), seconds, 0);
    }
  }
}

// The present moment stays where it is while the tempo or the piece changes.
function anchor() {
  const now = stepNow();
  step = now;
  if (bus) seconds = sound.now();
}

function start() {
  sound.start();
  sound.setVolume(Number(volume.value));
  composeAhead();
  makeTones();
  bus = sound.bus();
  seconds = sound.now() + MARGIN_SECONDS;
  timer = setInterval(tick, 100);
  tick();
  show(true);
  draw();
}

function stop() {
  anchor();
  sound.silence(bus);
  bus = null;
  clearInterval(timer);
  for (const piece of pieces) piece.handed = piece.notes.filter((note) => piece.from + note.step < step).length;
  show(false);
}

function show(playing) {
  document.getElementById("player").classList.toggle("playing", playing);
  play.setAttribute("aria-label", playing ? "Pause" : "Play");
}

// A new piece at once, in place of all that is to come.
function renew() {
  const plays = bus !== null;
  anchor();
  if (plays) sound.silence(bus);
  bus = null;
  pieces.splice(0, pieces.length, begin(Math.ceil(step)));
  announce();
  composeAhead();
  if (plays) {
    makeTones();
    bus = sound.bus();
    seconds = sound.now() + MARGIN_SECONDS;
  }
  draw();
}

// What is to come after the present piece is begun anew in its time.
function forget() {
  pieces.splice(1);
  seed = (pieces[0].seed + 1) % SEEDS;
}

// The number of bars or seconds is one that a piece can have.
function limit() {
  length.disabled = !unit.value;
  if (unit.value) length.max = unit.selectedOptions[0].dataset.most;
  length.value = Math.min(Math.max(Math.round(length.value) || 1, 1), length.max);
}

function announce() {
  const { plan, seed } = pieces[0], [numerator, denominator] = told.meters[plan.meter];
  const named = plan.mode ? `${told.keys[plan.mode - 1][plan.tonic]}, ` : "";
  status.textContent = `Piece ${seed}: ${named}${numerator}/${denominator}, ${plan.bars} bars`;
}

// The piano roll, which turns its pages where motion is not wanted.

const still = matchMedia("(prefers-reduced-motion: reduce)");
const swatches = [...document.querySelectorAll("#swatches line")].map((line) => getComputedStyle(line));
const BEFORE_BEATS = 4, SHOWN_BEATS = 16, LOW = 24, HIGH = 100, FRAME_MILLISECONDS = 50;

function draw() {
  clearTimeout(drawing);
  const [piece] = pieces, now = stepNow(), perBar = told.stepsPerBar[piece.plan.meter];
  const scale = devicePixelRatio || 1, width = roll.clientWidth * scale, height = roll.clientHeight * scale;
  if (roll.width !== Math.round(width)) roll.width = Math.round(width);
  if (roll.height !== Math.round(height)) roll.height = Math.round(height);
  const paint = roll.getContext("2d"), style = getComputedStyle(roll);
  const perStep = width / (SHOWN_BEATS * stepsPerBeat), perPitch = height / (HIGH - LOW);
  const page = SHOWN_BEATS * stepsPerBeat, first = still.matches ? Math.floor(now / page) * page : now - BEFORE_BEATS * stepsPerBeat;
  const x = (at) => (at - first) * perStep;
  paint.clearRect(0, 0, width, height);
  paint.fillStyle = style.getPropertyValue("--line");
  for (let bar = 0; bar <= piece.plan.bars; bar++) paint.fillRect(x(piece.from + bar * perBar), 0, scale, height);
  for (const one of pieces) {
    for (const note of one.notes) {
      const left = x(one.from + note.step), wide = Math.max(note.length * perStep - scale, 2 * scale);
      if (left + wide < 0 || left > width) continue;
      const lit = bus && one.from + note.step <= now && now < one.from + note.step + note.length;
      paint.fillStyle = lit ? style.getPropertyValue("--playhead") : swatches[told.programs.indexOf(note.program) % swatches.length].stroke;
      const pitch = Math.min(Math.max(sounding(note, one), LOW), HIGH - 1);
      paint.fillRect(left, (HIGH - 1 - pitch) * perPitch, wide, Math.max(perPitch - 1, 2));
    }
  }
  paint.fillStyle = style.getPropertyValue("--playhead");
  paint.fillRect(x(now), 0, 1.5 * scale, height);
  const bar = Math.min(Math.max(Math.floor((now - piece.from) / perBar) + 1, 1), piece.plan.bars);
  place.textContent = `bar ${bar} of ${piece.plan.bars}`;
  if (bus && !document.hidden) drawing = setTimeout(draw, FRAME_MILLISECONDS);
}

function fileOf(piece) {
  const notes = piece.notes.map((note) => ({
    from: note.step / stepsPerBeat, until: (note.step + note.length) / stepsPerBeat,
    pitch: sounding(note, piece), velocity: note.velocity, program: programOf(note),
  }));
  return midiFile(notes, told.meters[piece.plan.meter], Number(tempo.value), piece.length / stepsPerBeat);
}

// Controls.

play.addEventListener("click", () => (bus ? stop() : start()));
skip.addEventListener("click", renew);
save.addEventListener("click", async () => {
  const [piece] = pieces, pause = () => new Promise((done) => setTimeout(done));
  save.disabled = true;
  for (let count = 1; !piece.ended; count++) {
    composeNote(piece);
    if (count % 8 === 0) await pause(); // so that the music goes on
  }
  save.disabled = false;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([fileOf(piece)], { type: "audio/midi" }));
  link.download = `piece-${piece.seed}.mid`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
key.addEventListener("change", () => {
  const wished = wishedKey(), [piece] = pieces;
  if (!wished) return;
  if (wished[1] !== piece.plan.mode) return void renew();
  forget();
  [piece.plan.tonic] = wished;
  announce();
  draw();
});
meter.addEventListener("change", () => {
  if (meter.value && Number(meter.value) !== pieces[0].plan.meter) renew();
  else forget();
});
for (const control of [unit, length]) {
  control.addEventListener("change", () => {
    limit();
    if (unit.value) renew();
    else forget();
  });
}
onward.addEventListener("change", forget);
let bpm = tempo.value;
tempo.addEventListener("input", () => {
  const chosen = tempo.value;
  tempo.value = bpm; // the time so far passed at the tempo until now
  anchor();
  tempo.value = bpm = chosen;
});
for (const control of [tempo, temperature]) {
  const tell = () => { control.parentElement.querySelector("output").value = control.value; };
  control.addEventListener("input", tell);
  tell(); // a browser may restore what was chosen before
}
addEventListener("hashchange", () => location.reload());
volume.addEventListener("input", () => sound.setVolume(Number(volume.value)));
document.addEventListener("visibilitychange", () => { if (!document.hidden) draw(); });
addEventListener("resize", draw);
limit();
pieces.push(begin(0));
composeAhead();
announce();
draw();
for (const button of [play, skip, save]) button.disabled = false;
})();
