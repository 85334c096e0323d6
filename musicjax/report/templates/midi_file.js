// A MIDI file of one track, as bytes. Each note has from and until, in quarter notes, pitch, velocity and program;
// meter: [numerator, denominator]; bpm: quarter notes a minute; beats: how long the file lasts, in quarter notes.
function midiFile(notes, meter, bpm, beats) {
  const TICKS = 480, DRUMS = 128, DRUM_CHANNEL = 9, MELODIC = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15];
  const events = [], channels = new Map(), keys = new Map();
  const number = (value, bytes) => Array.from({ length: bytes }, (_, k) => (value >>> (8 * (bytes - 1 - k))) & 255);
  const delta = (value) => (value < 128 ? [value] : [...delta(value >> 7).map((byte) => byte | 128), value & 127]);
  const channelOf = (program) => {
    if (program === DRUMS) return DRUM_CHANNEL;
    if (!channels.has(program)) channels.set(program, MELODIC[channels.size % MELODIC.length]);
    return channels.get(program);
  };
  const ticks = (time) => Math.round(time * TICKS);
  for (const { from: begins, until, pitch, velocity, program } of notes) {
    const channel = channelOf(program), from = ticks(begins);
    const off = [Math.max(ticks(until), from + 1), 0, [0x80 | channel, pitch, 0]];
    const before = keys.get(128 * channel + pitch);
    if (before?.from === from) continue; // one key is struck once at a time
    if (before) before.off[0] = Math.min(before.off[0], from); // and is up before it is struck again
    keys.set(128 * channel + pitch, { from, off });
    events.push([from, 1, [0x90 | channel, pitch, velocity]], off);
  }
  const [numerator, denominator] = meter;
  const head = [[0x58, [numerator, Math.log2(denominator), 24, 8]], [0x51, number(Math.round(6e7 / bpm), 3)]];
  const track = head.flatMap(([kind, bytes]) => [0, 0xff, kind, bytes.length, ...bytes]);
  for (const [program, channel] of channels) track.push(0, 0xc0 | channel, program);
  let last = 0;
  for (const [tick, , bytes] of events.sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
    track.push(...delta(tick - last), ...bytes);
    last = tick;
  }
  track.push(...delta(Math.max(ticks(beats) - last, 0)), 0xff, 0x2f, 0);
  const text = (letters) => [...letters].map((letter) => letter.charCodeAt(0));
  const header = [...text("MThd"), ...number(6, 4), ...number(0, 2), ...number(1, 2), ...number(TICKS, 2)];
  return Uint8Array.from([...header, ...text("MTrk"), ...number(track.length, 4), ...track]);
}
