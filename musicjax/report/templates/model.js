// A trained note-event model, one row at a time: numbers as Python's log_prob gives them, and new pieces.
//
// `model` is what encodings/event_constants.py gives. Rows are arrays of bins, see music/note_bins.py, whose columns `at`
// names.

const openModel = (model, weights) => {
const { at, sizes, order, predicted, matched, units, layers, embedding, headUnits } = model;
const MOST_NOTES_PER_BAR = 200;
const sum = (numbers) => numbers.reduce((total, one) => total + one, 0);
const begins = (columns) => { // where the bins of each of some columns begin, put end to end
  let total = 0;
  return columns.map((column) => (total += sizes[column]) - sizes[column]);
};
const places = begins(sizes.map((_, column) => column));
const before = predicted.map((column) => order.slice(0, order.indexOf(column)));
const placesBefore = before.map(begins);

// How many of rising numbers are at most a value: the bin in which it lies.
const binOf = (rising, value) => rising.filter((begin) => begin <= value).length;

// The network.

// Adds row `row` of a matrix, times a factor, to a vector.
function add(into, matrix, row, factor = 1) {
  const width = into.length, first = row * width;
  for (let k = 0; k < width; k++) into[k] += factor * matrix[first + k];
}

const product = (vector, matrix, bias) => {
  const found = Float64Array.from(bias);
  vector.forEach((value, row) => { if (value) add(found, matrix, row, value); });
  return found;
};

const sigmoid = (z) => 1 / (1 + Math.exp(-z));

const noState = () => layers.map(() => ({ h: new Float64Array(units), c: new Float64Array(units) }));

// The states of the layers after one more row; the gates lie in the order of Keras.
function advance(row, states) {
  let below = new Float64Array(embedding);
  row.forEach((bin, column) => add(below, weights.embedding, places[column] + bin));
  return layers.map((name, layer) => {
    const { h, c } = states[layer], after = { h: new Float64Array(units), c: new Float64Array(units) };
    const gates = product(below, weights[`${name}.kernel`], weights[`${name}.bias`]);
    h.forEach((value, unit) => add(gates, weights[`${name}.recurrent_kernel`], unit, value));
    for (let unit = 0; unit < units; unit++) {
      const [input, forget, candidate, output] = [0, 1, 2, 3].map((gate) => gates[gate * units + unit]);
      after.c[unit] = sigmoid(forget) * c[unit] + sigmoid(input) * Math.tanh(candidate);
      after.h[unit] = sigmoid(output) * Math.tanh(after.c[unit]);
    }
    below = after.h;
    return after;
  });
}

const read = (states) => product(states[states.length - 1].h, weights["dense.kernel"], weights["dense.bias"]);

// The logits of a predicted column, given the columns before it in `row`.
function logits(outputs, row, column) {
  const which = predicted.indexOf(column), hidden = outputs.slice(which * headUnits, (which + 1) * headUnits);
  before[which].forEach((one, k) => add(hidden, weights[`head.into_${column}`], placesBefore[which][k] + row[one]));
  const active = hidden.map((value) => Math.max(value, 0));
  return product(active, weights[`head.out_${column}`], weights[`head.bias_${column}`]);
}

function logSumExp(values) {
  const most = Math.max(...values);
  return most + Math.log(sum(Array.from(values, (value) => Math.exp(value - most))));
}

// What follows from the past: the match, what still sounds, the place in the bar, the form.

const isDrums = (row) => model.isDrums[row[at.instrument]];
const alike = (a, b) => a[at.interval] === b[at.interval] && a[at.instrument] === b[at.instrument] && a[at.pitch] === b[at.pitch];

// What a piece remembers of its rows, the first of which is an edge.
const remember = (edge, bars) => ({
  rows: [edge], runs: [0], sounding: [], barsLeft: bars - 1, loops: model.loops.map(() => 0), step: 0, bar: 0, drawn: 0,
});

// The row after the last one with the columns that its interval decides.
function placed(memory, interval) {
  const last = memory.rows[memory.rows.length - 1], row = sizes.map(() => 0);
  const perBar = model.stepsPerBar[last[at.meter]], passed = last[at.bar_position] + model.steps[interval];
  const bars = Math.floor(passed / perBar), left = Math.max(memory.barsLeft - (memory.drawn ? bars : 0), 0);
  row[at.interval] = interval;
  row[at.bar_position] = passed % perBar;
  for (const column of [at.meter, at.tonic, at.mode]) row[column] = last[column];
  row[at.bars_left] = binOf(model.left, left);
  row[at.phrase] = (last[at.phrase] + bars) % model.phraseBars;
  const step = memory.step + model.steps[interval], sounding = memory.sounding.filter(({ end }) => end > step);
  for (const { pitchClass } of sounding) if (pitchClass >= 0) row[at.sounding_0 + pitchClass] = 1;
  row[at.held] = binOf(model.heldSteps, Math.max(0, ...sounding.map(({ end }) => end - step)));
  return { row, step, bars, left };
}

// Remembers a whole row, and gives it its match.
function remembered(memory, { row, step, bars, left }) {
  const { rows } = memory, now = rows.length;
  if (model.loops.length) {
    memory.loops = memory.loops.map((run, k) => (now - 1 - k > 0 && alike(rows[now - 1 - k], row) ? run + 1 : 0));
  }
  memory.sounding = memory.sounding.filter(({ end }) => end > step);
  memory.sounding.push({ end: step + model.sounds[row[at.duration]], pitchClass: isDrums(row) ? -1 : row[at.pitch] % 12 });
  rows.push(row);
  memory.runs = rows.map((one, k) => (k && k < now && alike(one, row) ? memory.runs[k - 1] + 1 : 0));
  const first = Math.max(now - model.reach, 1), longest = Math.max(0, ...memory.runs.slice(first));
  if (longest && model.matchLengths) {
    const followed = rows[memory.runs.lastIndexOf(longest) + 1];
    matched.forEach((column, k) => { row[column] = followed[predicted[k]]; });
    row[at.match_length] = binOf(model.matchLengths, longest);
  }
  Object.assign(memory, { step, barsLeft: left, bar: memory.bar + bars, drawn: memory.drawn + 1 });
}

function edgeOf({ meter, mode, bars }) {
  const edge = sizes.map(() => 0);
  Object.assign(edge, { [at.interval]: model.edge, [at.meter]: meter, [at.mode]: mode, [at.bars_left]: binOf(model.left, bars - 1) });
  return edge;
}

// Given notes.

// The log-likelihood of each predicted column, nats, of the notes of a piece and of its end: [notes + 1][columns].
// `notes` are the bins of the predicted columns of each note.
function logProbs(plan, notes) {
  const memory = remember(edgeOf(plan), plan.bars);
  let states = noState();
  return [...notes, predicted.map((column) => (column === at.interval ? model.edge : 0))].map((bins) => {
    const last = memory.rows[memory.rows.length - 1];
    states = advance(last, states);
    const outputs = read(states), next = placed(memory, bins[0]);
    predicted.forEach((column, k) => { next.row[column] = bins[k]; });
    if (bins[0] === model.edge) next.row = edgeAfter(last);
    const found = predicted.map((column) => {
      const values = logits(outputs, next.row, column);
      return values[next.row[column]] - logSumExp(values);
    });
    remembered(memory, next);
    return found;
  });
}

const edgeAfter = (row) => {
  const edge = sizes.map(() => 0);
  for (const column of [at.meter, at.mode, at.bars_left]) edge[column] = row[column];
  edge[at.interval] = model.edge;
  return edge;
};

// New notes.

// Probabilities of bins, from logits, where `allowed` says which may be drawn, cut by top-p and min-p.
function probabilities(values, allowed, temperature, { topP, minP }) {
  const scaled = Array.from(values, (value, bin) => (allowed(bin) ? value / (temperature || 1) : -Infinity));
  const whole = logSumExp(scaled), found = scaled.map((value) => Math.exp(value - whole));
  const falling = [...found].sort((a, b) => b - a);
  let reached = 0, kept = 0;
  while (kept < falling.length && (topP >= 1 || reached < topP)) reached += falling[kept++];
  const least = Math.max(falling[Math.max(kept - 1, 0)], minP * falling[0]);
  const left = found.map((share) => (share >= least ? share : 0)), total = sum(left);
  return left.map((share) => share / total);
}

// A bin: the likeliest at temperature 0, or else by chance, `random` in 0..1.
function drawn(shares, temperature, random) {
  if (!temperature) return shares.indexOf(Math.max(...shares));
  let left = random();
  for (let bin = 0; bin < shares.length; bin++) {
    left -= shares[bin];
    if (shares[bin] && left < 0) return bin;
  }
  return shares.findLastIndex((share) => share > 0);
}

// A piece, one note at a time: `next` gives the row of the next note, and null once the piece has ended in its last bar.
// `plan` has the bins of meter and mode, the bars and the tonic; `wish` is asked for each note: temperature, topP, minP,
// noRepeat, stopLoops.
function compose(plan, wish, random) {
  const memory = remember(edgeOf(plan), plan.bars), most = MOST_NOTES_PER_BAR * plan.bars;
  let states = noState();
  const next = () => {
    if (memory.drawn >= most) return null;
    const how = wish(), last = memory.rows[memory.rows.length - 1];
    states = advance(last, states);
    const outputs = read(states);
    // A bin of a column, among those that `may` be drawn and, unless that leaves none, those that `fit`.
    const choose = (row, column, { may = () => true, fits = () => true, changed = (values) => values }) => {
      const temperature = how.temperature * model.factors[predicted.indexOf(column)];
      const used = (bin) => (bin < model.used[column] || (column === at.interval && bin === model.edge)) && may(bin);
      const values = changed(logits(outputs, row, column)), both = (bin) => used(bin) && fits(bin);
      const allowed = values.some((_, bin) => both(bin)) ? both : used;
      return drawn(probabilities(values, allowed, temperature, how), temperature, random);
    };
    const perBar = model.stepsPerBar[last[at.meter]];
    const bars = model.steps.map((steps) => Math.floor((last[at.bar_position] + steps) / perBar));
    const mayEnd = memory.barsLeft === 0 && memory.drawn > 0;
    // In the last bar the edge has the probability of all that leads beyond it, and its own.
    const ended = (values) => {
      if (!mayEnd) return values;
      const beyond = Array.from(values).filter((_, bin) => bars[bin] > 0 || bin === model.edge);
      return values.map((value, bin) => (bin === model.edge ? logSumExp(beyond) : value));
    };
    const within = (bin) => (bin === model.edge ? mayEnd : bars[bin] <= memory.barsLeft);
    const interval = choose(null, at.interval, { fits: within, changed: ended });
    if (interval === model.edge) return null;
    const now = placed(memory, interval), { row } = now;
    row[at.instrument] = choose(row, at.instrument, {});
    const looping = how.stopLoops ? loopsOn(memory, row) : new Set(), struck = struckBy(memory, row);
    const again = runsOn(memory, how.noRepeat);
    const offset = plan.tonic > 6 ? plan.tonic - 12 : plan.tonic; // of the key that is wished now
    const inRange = (pitch) => pitch + offset >= 0 && pitch + offset < sizes[at.pitch];
    const may = (pitch) => isDrums(row) || inRange(pitch);
    const fits = (pitch) => pitch > 0 && ![looping, again, struck].some((stops) => stops.has(pitch)); // 0: of edges
    row[at.pitch] = choose(row, at.pitch, { may, fits });
    for (const column of predicted.slice(predicted.indexOf(at.pitch) + 1)) row[column] = choose(row, column, {});
    remembered(memory, now);
    return { row, step: memory.step, bar: memory.bar };
  };
  return { next, memory };
}

// Pitches that would go on with a loop for longer than any training piece does.
function loopsOn({ rows, loops }, row) {
  const stops = new Set();
  loops.forEach((run, k) => {
    const earlier = rows[rows.length - 1 - k];
    if (!earlier || earlier[at.interval] !== row[at.interval] || earlier[at.instrument] !== row[at.instrument]) return;
    if (run >= Math.max(model.loops[k], k + 1)) stops.add(earlier[at.pitch]);
  });
  return stops;
}

// Pitches that the instrument of a row has struck at its moment already.
function struckBy({ rows }, row) {
  const stops = new Set();
  if (model.steps[row[at.interval]]) return stops;
  for (let k = rows.length - 1; k > 0 && rows.length - k <= model.loops.length; k--) {
    if (rows[k][at.instrument] === row[at.instrument]) stops.add(rows[k][at.pitch]);
    if (rows[k][at.interval] !== row[at.interval]) break;
  }
  return stops;
}

// Pitches that would repeat a run of `length` pitches.
function runsOn({ rows }, length) {
  const pitches = rows.slice(1).map((row) => row[at.pitch]), stops = new Set();
  const run = pitches.slice(pitches.length - length + 1).join();
  for (let end = length - 1; length && end < pitches.length; end++) {
    if (pitches.slice(end - length + 1, end).join() === run) stops.add(pitches[end]);
  }
  return stops;
}

return { logProbs, probabilities, compose };
};

// The weights: `packed` is base64 of numbers of 16 bits, arrays one after the other as `shapes` names them.
const unpackWeights = (packed, shapes) => {
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer), weights = {};
  let place = 0;
  const half = (bits) => {
    const exponent = (bits >> 10) & 31, fraction = bits & 1023, sign = bits >> 15 ? -1 : 1;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
  };
  const table = Float32Array.from({ length: 65536 }, (_, bits) => half(bits));
  for (const [name, size] of shapes) {
    weights[name] = Float32Array.from({ length: size }, (_, k) => table[view.getUint16(2 * (place + k), true)]);
    place += size;
  }
  return weights;
};
