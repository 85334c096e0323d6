// The part for music to learn from: it is brought in, told about, and listened to.

import { find, list, make, playButton, set, write } from "./studio-dom.js";
import { ask, get, post, upload } from "./studio-server.js";
import { openRoll } from "./studio-roll.js";
import { capital, clock, count, signs, titled } from "./studio-words.js";
import * as pieces from "./studio-pieces.js";
import * as transport from "./studio-transport.js";

const MOST_FILES = 20000, MOST_ROWS = 8;
const LENGTHS = [[30, "under half a minute"], [60, "up to a minute"], [120, "up to two minutes"], [300, "up to five minutes"], [Infinity, "longer"]];

// The files of a drop, those in folders too: [{path, file}].
async function dropped(items) {
  const found = [];
  const walk = async (entry, above) => {
    if (entry.isFile) {
      found.push({ path: above + entry.name, file: await new Promise((take, refuse) => entry.file(take, refuse)) });
      return;
    }
    const reader = entry.createReader();
    for (;;) { // a reader gives a hundred at a time
      const some = await new Promise((take, refuse) => reader.readEntries(take, refuse));
      if (!some.length) return;
      for (const one of some) await walk(one, `${above}${entry.name}/`);
    }
  };
  const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean); // before the drop is over
  for (const entry of entries) await walk(entry, "");
  return found;
}

function nameOf(files) {
  const folder = files[0].path.split("/")[0];
  if (files.length === 1 || files.every((one) => one.path.startsWith(`${folder}/`))) return folder;
  return `${files[0].file.name} and ${count(files.length - 1, "other")}`;
}

export function openData(page) {
  let state = null, chosen = "", report = null, sending = false;
  const data = () => state?.data.find((one) => one.id === chosen);

  // Bringing it in.

  const bring = (files) => page.attempt(async () => {
    if (!files.length || sending) return;
    if (files.length > MOST_FILES) throw new Error(`That is ${count(files.length, "file")}; the studio takes at most ${count(MOST_FILES, "file")} at once. Drop fewer.`);
    sending = true;
    find("sent").hidden = false;
    find("sent").max = files.length;
    find("sent").value = 0;
    const refused = [];
    try {
      choose(await upload(nameOf(files), files, {
        sent(many) {
          find("sent").value = many;
          write(find("sending"), `${many.toLocaleString("en")} of ${count(files.length, "file")} sent`);
        },
        refused: (path, why) => refused.push(`${path}: ${why}`),
      }));
    } finally {
      sending = false;
      find("sent").hidden = true;
      write(find("sending"), "");
    }
    if (refused.length) throw new Error(refused.length === 1 ? refused[0] : `${capital(count(refused.length, "file"))} could not be sent. The first: ${refused[0]}`);
  });
  for (const field of [find("files"), find("folder")]) {
    field.addEventListener("change", () => {
      bring([...field.files].map((file) => ({ path: file.webkitRelativePath || file.name, file })));
      field.value = "";
    });
  }
  addEventListener("dragover", (event) => {
    event.preventDefault();
    find("drop").classList.add("over");
  });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) find("drop").classList.remove("over"); });
  addEventListener("drop", async (event) => {
    event.preventDefault();
    find("drop").classList.remove("over");
    if (!event.dataTransfer.files.length) return;
    page.go("data");
    bring(await dropped(event.dataTransfer.items));
  });
  const about = () => write(find("about-known"), find("known").selectedOptions[0]?.dataset.about ?? "");
  find("known").addEventListener("change", about);
  about();
  find("take").addEventListener("click", () => page.attempt(async () => choose((await post("data", { name: find("known").value })).data)));

  // What was found.

  function choose(id) {
    chosen = id;
    report = null;
    update(state);
  }

  async function askReport() {
    const one = data();
    if (!["ready", "failed"].includes(one?.status) || report?.id === one.id) return;
    const told = await page.attempt(() => get(`data/${one.id}`));
    if (!told || one.id !== chosen) return;
    const nothing = { keys: {}, meters: {}, instruments: {}, lengths_seconds: [] }; // of music that could not be read
    report = { ...nothing, ...told, pieces: titled(told.pieces), id: one.id };
    showReport();
  }

  function bars(heading, counts) {
    const rows = Object.entries(counts).sort((one, other) => other[1] - one[1]).slice(0, MOST_ROWS), most = Math.max(...rows.map(([, many]) => many), 1);
    return make("section", {}, make("h3", {}, heading), make("ul", { class: "bars" }, ...rows.map(([name, many]) => make("li", {},
      make("span", {}, name), make("svg", { class: "share", "aria-hidden": "true" }, make("rect", { class: "full", width: `${100 * many / most}%`, height: "100%", rx: "3" })),
      make("b", {}, many.toLocaleString("en"))))));
  }

  function showReport() {
    const tally = [["kept", report.kept], ["mended", report.recovered], ["skipped", report.skipped]];
    find("tally").replaceChildren(...tally.map(([name, many]) => make("div", {}, make("dt", {}, name), make("dd", {}, many.toLocaleString("en")))));
    const odd = report.files.filter((file) => file.verdict !== "kept");
    find("files-told").hidden = !odd.length;
    find("files-told").open = !report.pieces.length;
    find("reasons").replaceChildren(...odd.map((file) => make("li", {}, make("b", {}, file.name), ` ${file.verdict === "skipped" ? "skipped" : "mended"}${file.reason ? `: ${file.reason}` : ""}`)));
    const lengths = {};
    for (const seconds of report.lengths_seconds) {
      const [, name] = LENGTHS.find(([most]) => seconds < most);
      lengths[name] = (lengths[name] ?? 0) + 1;
    }
    const keys = Object.fromEntries(Object.entries(report.keys).map(([key, many]) => [signs(key), many]));
    const told = [["Keys", keys], ["Meters", report.meters], ["Instruments", report.instruments], ["Lengths", lengths]];
    find("panels").replaceChildren(...told.filter(([, counts]) => Object.keys(counts).length).map(([name, counts]) => bars(name, counts)));
    listPieces();
    const left = report.pieces_left_out ?? 0;
    find("pieces-left-out").hidden = !left;
    write(find("pieces-left-out"), `And ${count(left, "more piece", "more pieces")}.`);
  }

  const addressOf = (number) => `data/${report.id}/pieces/${number}`;
  const roll = openRoll(find("data-roll"), { seek: transport.seek });

  function listPieces() {
    if (!report) return;
    list(find("data-pieces"), report.pieces, (one) => `${report.id} ${one.number}`, (one) => make("li", { class: "item" },
      playButton("", () => page.attempt(async () => transport.turn(await pieces.piece(addressOf(one.number), one.title)))),
      make("span", { class: "name" }, one.title), make("span", { class: "tag" }, clock(one.seconds))), (item, one) => {
      const sounds = transport.isPlaying(addressOf(one.number));
      item.classList.toggle("playing", sounds);
      set(item.firstChild, { "aria-label": `${sounds ? "Pause" : "Play"} ${one.title}` });
    });
  }
  transport.hear((what) => {
    const present = transport.present(), own = Boolean(report) && present.id.startsWith(`data/${report.id}/`);
    if (what === "loaded") {
      find("data-paper").hidden = !own;
      if (own) roll.show(present);
    }
    if (what !== "moved") listPieces();
    if (own) roll.move(transport.position(), transport.playing());
  });

  find("remove").addEventListener("click", () => page.attempt(async () => {
    await ask("DELETE", `data/${chosen}`);
    choose("");
  }));
  find("read-again").addEventListener("click", () => page.attempt(async () => {
    report = null;
    await post(`data/${chosen}/read`, {});
  }));
  find("teach-with").addEventListener("click", () => {
    find("learn-from").dataset.wanted = chosen;
    page.go("train");
  });

  function update(told) {
    state = told;
    if (!state) return;
    if (!data() && state.data.length && !sending) {
      chosen = state.data[state.data.length - 1].id;
      report = null;
    }
    list(find("data-list"), state.data, (one) => one.id,
      (one) => make("li", { class: "item" }, make("button", { class: "choose", type: "button", onclick: () => choose(one.id) }, make("b"), make("span"))),
      (item, one) => {
        set(item.firstChild, { "aria-current": one.id === chosen ? "true" : null });
        write(item.firstChild.firstChild, one.name);
        write(item.firstChild.lastChild, describe(one));
      });
    const one = data();
    find("no-report").hidden = Boolean(one);
    find("report").hidden = !one;
    if (!one) return;
    write(find("report-heading"), one.name);
    write(find("report-about"), describe(one));
    find("teach-with").disabled = one.status !== "ready";
    find("read-again").hidden = one.status !== "failed";
    hideReport();
    if (report?.id !== one.id) find("files-told").hidden = find("data-paper").hidden = true;
    askReport().then(hideReport);
  }

  // What belongs to another set of music, or is empty.
  function hideReport() {
    for (const id of ["tally", "panels", "listen"]) find(id).hidden = report?.id !== chosen;
    if (!report?.pieces.length) find("listen").hidden = true;
  }

  function describe(one) {
    if (one.status === "ready") return capital(count(one.pieces, "piece"));
    if (one.status === "failed") return one.message || "It could not be read.";
    const read = one.kept + one.recovered + one.skipped;
    return one.message || (one.status === "uploading" ? "It is on its way" : `It is being read: ${count(read, "file")} so far`);
  }

  return { update };
}
