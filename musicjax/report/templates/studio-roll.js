// A piano roll on a canvas: notes, bars, those that are marked, and the playhead.

import { find, set } from "./studio-dom.js";
import { count, instrument } from "./studio-words.js";

const GUTTER = 34, RULER = 22, FEWEST_PITCHES = 30, LEAST_BAR_PIXELS = 26, MOST_PIXELS = 9000, DRAG_PIXELS = 5, SLACK_SECONDS = 0.05;
const BLACK = [1, 3, 6, 8, 10], SHADES = 12;
const swatches = [...find("swatches").children].map((line) => getComputedStyle(line));
const shades = new Map(); // the colour of each instrument, the same in every piece

export function shade(program) {
  if (!shades.has(program)) shades.set(program, shades.size % SHADES);
  return shades.get(program);
}

// Where the bars begin, and after them where the last one ends, in seconds.
export function barLines(piece) {
  const lines = (piece.bars ?? []).filter((at) => at < piece.seconds - SLACK_SECONDS);
  return lines.length ? [...lines, piece.seconds] : [0, piece.seconds];
}

// The seconds of a range of bars, [from, to], both from 1 and included.
export function secondsOf(piece, [from, to]) {
  const lines = barLines(piece), last = lines.length - 1;
  return [lines[Math.min(from, last) - 1], lines[Math.min(to, last)]];
}

// The bars that a stretch of seconds touches, as a range like that.
export function barsOf(piece, [from, to]) {
  const begins = barLines(piece).slice(0, -1), first = Math.max(begins.findLastIndex((line) => line <= from + SLACK_SECONDS), 0) + 1;
  return [first, Math.max(begins.findLastIndex((line) => line < to - SLACK_SECONDS) + 1, first)];
}

// `seek` hears the second that is pressed, `mark` the range of bars that is dragged over, from 1.
export function openRoll(canvas, { seek = null, mark = null }) {
  const paint = canvas.getContext("2d"), ground = document.createElement("canvas");
  let piece = { title: "", notes: [], seconds: 16, bars: [0, 2, 4, 6, 8, 10, 12, 14] }, total = 1, low = 48, high = 78, marked = null, copied = null, at = 0, lit = false, stale = true;

  const scale = () => devicePixelRatio || 1;
  const width = () => canvas.clientWidth, height = () => canvas.clientHeight;
  const x = (seconds) => GUTTER + seconds / total * (width() - GUTTER - 1);
  const perPitch = () => (height() - RULER) / (high - low + 1);
  const y = (pitch) => RULER + (high - pitch) * perPitch();
  const colour = (name) => getComputedStyle(canvas).getPropertyValue(name);

  function fit() {
    const pitches = piece.notes.map((note) => note[2]);
    const least = Math.min(...pitches, 60), most = Math.max(...pitches, 72);
    const spare = Math.max(FEWEST_PITCHES - (most - least + 1), 4);
    low = Math.max(least - Math.ceil(spare / 2), 0);
    high = Math.min(most + Math.floor(spare / 2), 127);
    const lines = barLines(piece), bar = lines.length > 2 ? lines[1] - lines[0] : 0;
    total = Math.max(piece.seconds, piece.growing && bar && piece.asked?.bars ? bar * piece.asked.bars : 0, 0.5);
    const bars = bar ? Math.round(total / bar) : 1, room = canvas.parentElement.clientWidth;
    const wide = Math.min(Math.max(GUTTER + bars * LEAST_BAR_PIXELS, room), MOST_PIXELS);
    canvas.style.width = wide > room ? `${wide}px` : "100%";
  }

  function drawGround() {
    const wide = width(), tall = height(), to = ground.getContext("2d"), lines = barLines(piece);
    [ground.width, ground.height] = [canvas.width, canvas.height] = [Math.round(wide * scale()), Math.round(tall * scale())];
    to.scale(scale(), scale());
    to.fillStyle = colour("--faint");
    to.fillRect(0, RULER, wide, tall - RULER);
    to.font = `11px ${getComputedStyle(canvas).fontFamily}`;
    to.textBaseline = "middle";
    for (let pitch = low; pitch <= high; pitch++) {
      if (BLACK.includes(pitch % 12)) {
        to.fillStyle = colour("--dim");
        to.fillRect(GUTTER, y(pitch), wide, perPitch());
      }
      if (pitch % 12) continue;
      to.fillStyle = colour("--line");
      to.fillRect(0, y(pitch) + perPitch() - 0.5, wide, 1);
      to.fillStyle = colour("--quiet");
      to.fillText(`C${pitch / 12 - 1}`, 6, y(pitch) + perPitch() / 2 - 1);
    }
    if (marked) {
      const [from, until] = secondsOf(piece, marked).map(x);
      to.fillStyle = colour("--marked");
      to.fillRect(from, 0, until - from, tall);
    }
    const room = lines.length > 2 ? x(lines[1]) - x(lines[0]) : wide, every = Math.max(Math.ceil(30 / room), 1);
    lines.forEach((line, bar) => {
      to.fillStyle = colour("--line");
      to.fillRect(Math.min(x(line), wide - 1), bar % every ? RULER : 4, 1, tall);
      if (bar % every || bar === lines.length - 1) return;
      to.fillStyle = colour(marked && bar + 1 >= marked[0] && bar < marked[1] ? "--ink" : "--quiet");
      to.fillText(bar + 1, x(line) + 5, RULER / 2);
    });
    if (copied) {
      to.fillStyle = colour("--ink"); // no instrument has it
      to.fillRect(x(copied[0]), tall - 5, x(copied[1]) - x(copied[0]), 4);
    }
    drawNotes(to, piece.notes, (note) => swatches[shade(note[4])].stroke);
    stale = false;
  }

  function drawNotes(to, notes, colourOf, opaque = false) {
    const tall = Math.max(perPitch() - 1, 2.5);
    for (const note of notes) {
      const left = x(note[0]), wide = Math.max(x(note[0] + note[1]) - left - 1, 2.5);
      to.globalAlpha = piece.faint ? 0.35 : opaque ? 1 : 0.45 + 0.55 * note[3] / 127;
      to.fillStyle = colourOf(note);
      to.beginPath();
      to.roundRect(left, y(note[2]) + 0.5, wide, tall, Math.min(tall / 3, 2.5));
      to.fill();
    }
    to.globalAlpha = 1;
  }

  function draw() {
    if (!canvas.clientWidth) return;
    if (stale) drawGround();
    paint.setTransform(1, 0, 0, 1, 0, 0);
    paint.clearRect(0, 0, canvas.width, canvas.height);
    paint.drawImage(ground, 0, 0);
    paint.setTransform(scale(), 0, 0, scale(), 0, 0);
    const head = colour("--playhead");
    if (lit) drawNotes(paint, piece.notes.filter(([onset, duration]) => onset <= at && at < onset + duration), () => head, true);
    if (!piece.title) return;
    paint.fillStyle = head;
    paint.fillRect(x(at) - 0.75, 0, 1.5, height());
  }

  function show(other) {
    piece = other;
    fit();
    stale = true;
    const programs = [...new Set(piece.notes.map((note) => note[4]))];
    const told = `Piano roll of ${piece.title}: ${count(piece.notes.length, "note")}, ${count(barLines(piece).length - 1, "bar")}`;
    set(canvas, { "aria-label": programs.length ? `${told}, ${programs.map(instrument).join(", ")}` : told });
    draw();
    return programs;
  }

  const redo = () => {
    fit();
    stale = true;
    draw();
  };
  new ResizeObserver(redo).observe(canvas.parentElement);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redo);

  // A press seeks, a drag marks bars.
  let pressed = null;
  const secondAt = (event) => Math.min(Math.max((event.offsetX - GUTTER) / (width() - GUTTER - 1), 0), 1) * total;
  const barAt = (seconds) => Math.max(barLines(piece).findLastIndex((line, bar, all) => line <= seconds && bar < all.length - 1), 0) + 1;
  canvas.addEventListener("pointerdown", (event) => {
    if (!piece.title || event.button) return;
    pressed = { x: event.clientX, bar: barAt(secondAt(event)), drags: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!pressed || !mark) return;
    pressed.drags ||= Math.abs(event.clientX - pressed.x) > DRAG_PIXELS;
    const bar = barAt(secondAt(event));
    if (pressed.drags) mark([Math.min(bar, pressed.bar), Math.max(bar, pressed.bar)]);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (pressed && !pressed.drags && seek) seek(Math.min(secondAt(event), piece.seconds));
    pressed = null;
  });
  canvas.addEventListener("pointercancel", () => { pressed = null; });

  return {
    show,
    setMarked(range) { marked = range; stale = true; draw(); },
    setCopied(range) { copied = range; stale = true; draw(); },
    // The playhead; `sounds`: whether the notes under it are lit.
    move(seconds, sounds) {
      at = seconds;
      lit = sounds;
      draw();
      const view = canvas.parentElement, head = x(at);
      if (sounds && (head < view.scrollLeft || head > view.scrollLeft + 0.9 * view.clientWidth)) view.scrollLeft = head - 60;
    },
  };
}
