// Elements of the page, made and kept in step with lists.

export const find = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

// An element with attributes, whose names that begin with "on" are listeners, and children: elements or text.
export function make(tag, attributes = {}, ...children) {
  const element = ["svg", "path", "line", "rect", "polyline"].includes(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  set(element, attributes);
  element.append(...children);
  return element;
}

// Sets attributes; null or false removes one, and true sets it empty.
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === null || value === false || value === undefined) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value === true ? "" : value)) element.setAttribute(name, value === true ? "" : value);
  }
}

// Text is written where it differs, so that a screen reader does not read it again.
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// One child for each item, in their order. Children stay, so the focus does too: `create` makes one, `update` fills it.
export function list(parent, items, id, create, update) {
  const present = new Map([...parent.children].map((child) => [child.dataset.id, child]));
  items.forEach((item, place) => {
    const name = String(id(item));
    let child = present.get(name);
    if (!child) {
      child = create(item);
      child.dataset.id = name;
    }
    present.delete(name);
    if (parent.children[place] !== child) parent.insertBefore(child, parent.children[place] ?? null);
    update(child, item);
  });
  for (const child of present.values()) child.remove();
}

// The options of a select; what was chosen stays chosen if it can.
export function offer(select, options) {
  const wanted = select.dataset.wanted ?? select.value;
  list(select, options, ([value]) => value, ([value]) => make("option", { value }), (option, [, label]) => write(option, label));
  if (options.some(([value]) => value === wanted)) {
    select.value = wanted;
    delete select.dataset.wanted;
  }
}

// A swatch in the colour of an instrument.
export const swatch = (shade) => make("svg", { class: "swatch", "aria-hidden": "true" }, make("line", { class: `i${shade}`, x2: "100%", y1: "2", y2: "2" }));

// A round button that plays or pauses.
export function playButton(label, onclick) {
  const icon = make("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" },
    make("path", { class: "starting", d: "M9.5 7.5v9l7-4.5z" }), make("path", { class: "pausing", d: "M8.5 7.5h2.5v9H8.5zM13 7.5h2.5v9H13z" }));
  return make("button", { class: "play", type: "button", "aria-label": label, onclick }, icon);
}
