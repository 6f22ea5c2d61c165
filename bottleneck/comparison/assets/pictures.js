// Pictures of images: thumbnails from sheets, the viewer, and what a reader says of an image.
const sheets = (data.thumbnails ? data.thumbnails.uris : []).map((uri) => ({ uri, image: null, waiting: [] }));
function sheetOf(number, paint) {
  const one = sheets[number];
  if (!one.image) {
    one.image = new Image();
    one.image.onload = () => one.waiting.splice(0).forEach((run) => run(one.image));
    one.image.src = one.uri;
  }
  if (one.image.complete && one.image.naturalWidth) paint(one.image); else one.waiting.push(paint);
}
const hasThumb = (i) => data.thumbnails && data.thumbnails.places[i] !== undefined;
function paintThumb(context, i, x, y, size) {
  const { side, columns, per_sheet: per, places } = data.thumbnails, at = places[i] % per;
  sheetOf(Math.floor(places[i] / per), (sheet) => context.drawImage(
    sheet, (at % columns) * side, Math.floor(at / columns) * side, side, side, x, y, size, size));
}
function picture(i, size) {
  if (data.served) {
    const served = h("img", { src: `thumb/${i}`, alt: keyOf(i), loading: "lazy", width: size, height: size });
    served.addEventListener("error", () => served.replaceWith(noPicture(i, size)));
    return served;
  }
  if (!hasThumb(i)) return noPicture(i, size);
  const side = data.thumbnails.side;
  const canvas = h("canvas", { width: side, height: side, role: "img", "aria-label": keyOf(i) });
  canvas.style.width = canvas.style.height = size + "px";
  paintThumb(canvas.getContext("2d"), i, 0, 0, side);
  return canvas;
}
function noPicture(i, size) {
  const node = h("span", { class: "thumbless", role: "img", "aria-label": keyOf(i) + " (no picture)" }, "no picture");
  node.style.width = node.style.height = size + "px";
  return node;
}
const keyLine = (i) => h("span", { class: "key" }, keyOf(i));

// Where the file is, as an address that this browser opens; null for what lies inside of a file.
function address(i) {
  if (data.served) return `image/${i}`;
  const root = images.root[i] < 0 ? null : images.roots[images.root[i]] + rawKey(i);
  if (root === null) return null;
  if (root.startsWith("/")) return "file://" + root.split("/").map(encodeURIComponent).join("/");
  return /^https?:/.test(root) ? root : null;
}

// What a reader says: the label is wrong, is fine, or should be another one. Kept by this browser,
// so that closing the page loses nothing.
const MARKS = "bottleneck " + data.features.map((one) => one.manifest_sha256)[0];
const marks = new Map();
const markListeners = [];
try {
  const rows = new Map();
  for (const [key, mark] of JSON.parse(localStorage.getItem(MARKS) || "[]")) rows.set(key, mark);
  if (rows.size) for (let i = 0; i < images.count; i++) if (rows.has(rawKey(i))) marks.set(i, rows.get(rawKey(i)));
} catch { /* nothing was kept, or nothing can be */ }
function setMark(i, mark) {
  const was = marks.get(i);
  if (!mark || (was && was.verdict === mark.verdict && was.label === mark.label)) marks.delete(i); else marks.set(i, mark);
  marked([i]);
}
function marked(changed) {
  try { localStorage.setItem(MARKS, JSON.stringify([...marks].map(([i, mark]) => [rawKey(i), mark]))); } catch { /* not kept */ }
  for (const i of changed) document.querySelectorAll(`[data-image="${i}"]`).forEach((node) => node.refresh && node.refresh());
  markListeners.forEach((listen) => listen());
}
function corrections() {
  const given = (i) => (images.label[i] === data.data.unlabelled ? "" : data.data.classes[images.label[i]]);
  const name = (i, mark) => (mark.verdict === "label" ? mark.label : mark.verdict === "fine" ? given(i) : "");
  return plainTable([["path", "label", "was", "verdict"],
    ...[...marks].sort((a, b) => a[0] - b[0]).map(([i, mark]) => [rawKey(i), name(i, mark), given(i), mark.verdict])]);
}
// The bar at the foot of the page: how many are marked, the table of them, and what to do with it.
function drawMarks() {
  const place = document.getElementById("marks");
  const words = h("strong"), use = h("code");
  const file = data.features[0].file;
  use.textContent = `bottleneck relabel ${/[^\w./-]/.test(file) ? `'${file.replace(/'/g, "'\\''")}'` : file} corrections.csv -o corrected.h5`;
  const forget = h("button", { type: "button", class: "button", onclick: () => {
    if (!confirm(`Forget ${plural(marks.size, "mark")}?`)) return;
    const all = [...marks.keys()];
    marks.clear();
    marked(all);
  } }, "Forget all");
  place.append(words, h("button", { type: "button", class: "button", id: "export-corrections", onclick: () => download("corrections.csv", corrections()) }, "Download corrections.csv"),
    forget, h("span", { class: "soft" }, "then ", use));
  const show = () => {
    place.hidden = marks.size === 0;
    const count = (verdict) => [...marks.values()].filter((mark) => mark.verdict === verdict).length;
    words.textContent = `${plural(marks.size, "image")} marked: ${count("wrong")} wrong, ${count("label")} with another label, ${count("fine")} fine`;
  };
  markListeners.push(show);
  show();
  document.body.append(h("datalist", { id: "class-names" }, data.data.classes.map((name) => h("option", { value: name }))));
}
// The buttons below an image.
function markButtons(i) {
  const button = (verdict, text, title) => h("button", { type: "button", class: "mark-button", "data-verdict": verdict, title, "aria-label": `${text}: ${keyOf(i)}`,
    onclick: () => setMark(i, { verdict }) }, text);
  const other = h("input", { type: "text", list: "class-names", placeholder: "other label", "aria-label": `Another label for ${keyOf(i)}`, autocomplete: "off",
    onchange: () => { const label = other.value.trim(); setMark(i, label && label !== data.data.classes[images.label[i]] ? { verdict: "label", label } : null); },
    onkeydown: (event) => { if (event.key.startsWith("Arrow")) event.stopPropagation(); } });
  const buttons = [button("wrong", "wrong", "The label is wrong, and no other one fits: the image gets none"), button("fine", "fine", "The label is right")];
  const group = h("div", { class: "marking", role: "group", "aria-label": "What the label is", "data-image": i }, buttons, other);
  group.refresh = () => {
    const mark = marks.get(i);
    buttons.forEach((one) => one.setAttribute("aria-pressed", String(Boolean(mark) && mark.verdict === one.dataset.verdict)));
    other.value = mark && mark.verdict === "label" ? mark.label : "";
    other.classList.toggle("set", Boolean(other.value));
  };
  group.refresh();
  return group;
}

// Flags of an image, as words; the sets behind them are filled by what draws the findings.
const flagsOf = [];
const tagsOf = (i) => flagsOf.map((flag) => flag(i)).filter(Boolean);

// A card of an image: a click on the picture enlarges it.
function card(i, about, list) {
  return [h("button", { type: "button", class: "thumb", "aria-label": `Enlarge ${keyOf(i)}`, onclick: () => look(i, list) }, picture(i, 64)),
    h("div", {}, about, keyLine(i), markButtons(i))];
}
// A list of images that shows so many and then more on request.
function gallery(rows, about, first = 12) {
  const list = h("ul", { class: "gallery" });
  const more = h("button", { type: "button", class: "button" });
  let shown = 0;
  const add = (count) => {
    list.append(...rows.slice(shown, shown + count).map((i) => h("li", {}, card(i, about(i), rows))));
    shown = Math.min(rows.length, shown + count);
    more.hidden = shown >= rows.length;
    more.textContent = `Show ${Math.min(24, rows.length - shown)} more of ${whole(rows.length - shown)}`;
  };
  more.addEventListener("click", () => add(24));
  add(first);
  return h("div", {}, list, more);
}
const plainAbout = (i) => [h("strong", {}, labelOf(i)), splitOf(i) && h("span", { class: "soft" }, ` ${splitOf(i)}`), ...tagsOf(i).map((tag) => [" ", tag])];

// The viewer: one image, large, with the ones before and behind it in its list.
const viewer = document.getElementById("viewer");
let viewed = null;
function look(i, list) {
  viewed = { i, list: list && list.includes(i) ? list : [i] };
  drawViewer();
  if (!viewer.open) viewer.showModal();
}
function drawViewer() {
  const { i, list } = viewed, at = list.indexOf(i);
  const step = (by) => { const next = list[at + by]; if (next !== undefined) { viewed.i = next; drawViewer(); } };
  viewed.step = step;
  const back = h("button", { type: "button", class: "button", disabled: at === 0, onclick: () => step(-1) }, "\u2190 previous");
  const on = h("button", { type: "button", class: "button", disabled: at === list.length - 1, onclick: () => step(1) }, "next \u2192");
  const close = h("button", { type: "button", class: "button", onclick: () => viewer.close() }, "close");
  const link = address(i);
  const similar = similarTo([i], 12);
  viewer.replaceChildren(
    h("div", { class: "controls" }, back, on, h("span", { class: "soft" }, list.length > 1 ? `${whole(at + 1)} of ${whole(list.length)}` : ""), close),
    large(i), h("p", {}, plainAbout(i)), h("p", { class: "key" }, keyOf(i)),
    h("p", {}, link ? h("a", { href: link, target: "_blank", rel: "noopener" }, "Open the file") : h("span", { class: "soft" }, "It lies inside of a file, or where it is is not known.")),
    markButtons(i),
    similar.length > 0 && h("h3", {}, "Images that look alike"),
    similar.length > 0 && h("ul", { class: "strip" }, similar.map((one) => h("li", {}, h("button", { type: "button", class: "thumb", title: keyOf(one),
      "aria-label": `Show ${keyOf(one)}, ${labelOf(one)}`, onclick: () => { viewed = { i: one, list: [i, ...similar] }; drawViewer(); } }, picture(one, 56)), h("span", {}, labelOf(one))))));
  if (viewer.open) (document.activeElement && viewer.contains(document.activeElement) ? document.activeElement : close).focus();
}
// The picture itself: the file where it can be opened, else the larger picture of the page, else its thumbnail.
function large(i) {
  const place = h("div", { class: "large" });
  const image = (source, then) => {
    const node = h("img", { src: source, alt: keyOf(i) });
    node.addEventListener("load", () => { place.replaceChildren(node); });
    node.addEventListener("error", then);
  };
  const own = data.previews && data.previews[i];
  const instead = () => {
    if (own) { image(own, () => {}); return; }
    if (data.served || !hasThumb(i)) { place.replaceChildren(noPicture(i, 320)); return; }
    const canvas = picture(i, 320);
    place.replaceChildren(canvas, h("p", { class: "soft" }, "Only its thumbnail is part of this page."));
  };
  instead();
  const link = address(i);
  if (link && !/^https?:/.test(link)) image(link, () => {});
  return place;
}
viewer.addEventListener("keydown", (event) => {
  if (event.target.tagName === "INPUT") return;
  if (event.key === "ArrowRight") viewed.step(1);
  if (event.key === "ArrowLeft") viewed.step(-1);
});
viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });

// Images alike: by the cosine of their coordinates along the directions in which features vary most.
let coordinates = null;
function similarTo(chosen, count) {
  const { axes, scale, codes } = images.similar;
  if (!coordinates) {
    const packed = column(Int8Array, codes);
    coordinates = new Float32Array(packed.length);
    for (let i = 0; i < images.count; i++) {
      let length = 0;
      for (let a = 0; a < axes; a++) { const v = packed[i * axes + a] * scale[a]; coordinates[i * axes + a] = v; length += v * v; }
      length = Math.sqrt(length) || 1;
      for (let a = 0; a < axes; a++) coordinates[i * axes + a] /= length;
    }
  }
  const wanted = new Float32Array(axes);
  for (const i of chosen) for (let a = 0; a < axes; a++) wanted[a] += coordinates[i * axes + a];
  const own = new Set(chosen), best = [];
  for (let i = 0; i < images.count; i++) {
    if (own.has(i)) continue;
    let alike = 0;
    for (let a = 0; a < axes; a++) alike += wanted[a] * coordinates[i * axes + a];
    if (best.length < count || alike > best[best.length - 1][0]) {
      best.push([alike, i]);
      best.sort((x, y) => y[0] - x[0]);
      if (best.length > count) best.pop();
    }
  }
  return best.map(([, i]) => i);
}
