// Parallel coordinates: the trial that is pointed at, or stepped to with the arrow keys, and stretches of axes that lines
// must cross. To a screen reader the picture is a slider of the trials, from the best on.
(() => {
const found = JSON.parse(document.getElementById("numbers").textContent).search;
const picture = document.querySelector(".parallel");
if (!found || !picture) return;
const { trials, axes } = found;
const readout = picture.closest("figure").querySelector(".readout"), lit = picture.querySelector(".lit");
const lines = new Map([...picture.querySelectorAll("[data-place]")].map((line) => [Number(line.dataset.place), line]));
const brushes = new Map(); // by the number of an axis: its stretch, shares from the bottom, and how it is drawn
let place = 0, drawn = null;

const tell = () => {
  const said = axes.map(({ name, values }) => `${name} ${values[place]}`);
  const text = `trial ${trials[place]}: ${said.join(", ")}`;
  picture.setAttribute("aria-valuenow", place + 1);
  picture.setAttribute("aria-valuetext", text);
  return text;
};
const show = () => {
  lit.setAttribute("d", lines.get(place).getAttribute("d"));
  readout.textContent = tell();
  picture.parentElement.parentElement.classList.add("asked");
};
const hide = () => {
  lit.setAttribute("d", "");
  readout.textContent = "";
  picture.parentElement.parentElement.classList.remove("asked");
};
const crosses = (k) => [...brushes].every(([number, { low, high }]) => {
  const share = axes[number].shares[k];
  return low <= share && share <= high;
});
const sift = () => lines.forEach((line, k) => line.classList.toggle("out", !crosses(k)));
const at = (event) => {
  const box = picture.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, 1 - (event.clientY - box.top) / box.height];
};
const nearest = (x) => axes.reduce((best, one, k) => (Math.abs(one.at - x) < Math.abs(axes[best].at - x) ? k : best), 0);
const clear = () => {
  brushes.forEach(({ mark }) => mark.remove());
  brushes.clear();
  sift();
};
// Between two axes a line is straight, so the one that passes nearest to the pointer is known.
const point = (event) => {
  const [x, y] = at(event);
  const left = axes.findLastIndex((one) => one.at <= x), right = Math.min(left + 1, axes.length - 1), from = Math.max(left, 0);
  const share = right > from ? Math.min(Math.max((x - axes[from].at) / (axes[right].at - axes[from].at), 0), 1) : 0;
  let least = Infinity;
  trials.forEach((_, k) => {
    const height = axes[from].shares[k] * (1 - share) + axes[right].shares[k] * share, far = Math.abs(height - y);
    if (far < least && crosses(k)) [least, place] = [far, k];
  });
  if (least < Infinity) show();
};
const stretch = (event) => {
  const brush = brushes.get(drawn), y = Math.min(Math.max(at(event)[1], 0), 1);
  [brush.low, brush.high] = [Math.min(brush.from, y), Math.max(brush.from, y)];
  brush.mark.setAttribute("y", `${100 * (1 - brush.high)}%`);
  brush.mark.setAttribute("height", `${100 * (brush.high - brush.low)}%`);
  sift();
};
picture.addEventListener("pointermove", (event) => (drawn === null ? point(event) : stretch(event)));
picture.addEventListener("pointerleave", hide);
picture.addEventListener("pointerdown", (event) => {
  const [x, y] = at(event);
  drawn = nearest(x);
  brushes.get(drawn)?.mark.remove();
  const mark = document.createElementNS(picture.namespaceURI, "rect");
  Object.entries({ class: "brush", x: `${100 * axes[drawn].at}%`, width: 12, transform: "translate(-6)" }).forEach(
    ([name, value]) => mark.setAttribute(name, value));
  picture.querySelector(".brushes").append(mark);
  brushes.set(drawn, { from: y, low: y, high: y, mark });
  picture.setPointerCapture(event.pointerId);
});
picture.addEventListener("pointerup", () => {
  const brush = brushes.get(drawn);
  if (brush && brush.high - brush.low < 0.02) { // no more than a click: all values of this axis again
    brush.mark.remove();
    brushes.delete(drawn);
    sift();
  }
  drawn = null;
});
picture.addEventListener("focus", show);
picture.addEventListener("blur", hide);
picture.addEventListener("keydown", (event) => {
  if (event.key === "Escape") clear();
  const to = { ArrowLeft: place - 1, ArrowUp: place - 1, ArrowRight: place + 1, ArrowDown: place + 1, Home: 0,
    End: trials.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  place = Math.min(Math.max(to, 0), trials.length - 1);
  show();
});
picture.setAttribute("role", "slider");
picture.setAttribute("tabindex", "0");
picture.setAttribute("aria-valuemin", 1);
picture.setAttribute("aria-valuemax", trials.length);
tell();
})();
