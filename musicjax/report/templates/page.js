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

// Players: one sounds at a time; each keeps its place.

// Whole seconds of what the page gives to a tenth elsewhere: 36.96 is 37.0 there, and so 0:37 here.
const clock = (seconds) => {
  const whole = Math.floor((Math.round(1000 * seconds) + 50) / 1000);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
};
const AHEAD_SECONDS = 1.5; // a hidden page's timer fires once a second
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
    const until = sound.now() - origin + AHEAD_SECONDS;
    for (; next < onset.length && onset[next] / 1000 < until; next++) {
      const into = Math.max(position - onset[next] / 1000, 0), seconds = duration[next] / 1000 - into;
      if (into > 0 && seconds <= 0.05) continue; // over, where a seek has led to
      const at = Math.max(origin + onset[next] / 1000, sound.now());
      sound.strike(bus, pitch[next], program[next], velocity[next], at, seconds, into);
    }
    if (sound.now() - origin > end + 0.3) { stop(); position = 0; draw(); }
  };
  const frame = () => {
    if (!bus) return;
    position = Math.min(Math.max(sound.now() - origin, 0), end);
    draw();
    const x = position / end * roll.clientWidth;
    if (x < scroll.scrollLeft || x > scroll.scrollLeft + 0.9 * scroll.clientWidth) scroll.scrollLeft = x - 20;
    requestAnimationFrame(frame);
  };
  const stop = () => {
    if (!bus) return;
    sound.silence(bus);
    clearInterval(timer);
    bus = sounding = null;
    card.classList.remove("playing");
    play.setAttribute("aria-label", `Play ${name}`);
    draw();
  };
  const begin = () => {
    if (sounding) sounding();
    sound.start();
    bus = sound.bus();
    sounding = stop;
    // Making its sounds takes longer than a chord may be late.
    onset.forEach((from, k) => {
      if (from < 1000 * (position + AHEAD_SECONDS) && from + duration[k] > 1000 * position) sound.tone(pitch[k], program[k]);
    });
    origin = sound.now() + 0.05 - position;
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
const volume = document.querySelector(".volume input");
if (volume) volume.addEventListener("input", () => sound.setVolume(volume.value));
})();
