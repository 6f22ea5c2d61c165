// What everything else is made of. Text only ever goes in as text, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
// Characters that a name could turn the rest of a sentence around with are shown as codes.
const plain = (text) => text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
  (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
const classes = data.data.classes.map(plain);
for (const one of data.features) for (const name of ["name", "file", "output", "backbone"]) one[name] = plain(one[name]);
data.command = plain(data.command);

// Columns of numbers are little-endian bytes in base64, as all machines of today have them.
const column = (type, text) => new type(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const SPLITS = ["", "train", "val", "test"];
const images = {
  ...data.images,
  count: data.images.names.length,
  folder: column(Uint32Array, data.images.folder),
  label: column(Uint32Array, data.images.label),
  split: column(Uint8Array, data.images.split),
  root: column(Int32Array, data.images.root),
};
// The key as the feature file has it, for tables; and as it is shown.
const rawKey = (i) => images.folders[images.folder[i]] + images.names[i];
const keyOf = (i) => plain(rawKey(i));
const labelOf = (i) => classes[images.label[i]];
const splitOf = (i) => SPLITS[images.split[i]];
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
  return node;
}
const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const percent = (value, digits = 1) =>
  value === null || value === undefined ? "–" : (100 * value).toFixed(digits) + " %";
const number = (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const whole = (value) => (value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en"));
const plural = (count, one, many) => `${whole(count)} ${count === 1 ? one : many || one + "s"}`;
function short(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 1e6) return (value / 1e6).toPrecision(3) + " M";
  if (value >= 1e4) return (value / 1e3).toPrecision(3) + " k";
  return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}
function pValue(value) {
  return value >= 0.0995 ? value.toFixed(2) : value >= 0.001 ? value.toFixed(3) : "< 0.001";
}
const params = (values) => Object.entries(values).map(([k, v]) => `${k} = ${Number(v.toPrecision(4))}`).join(", ");

const className = (code) => classes[code];
const featureName = (entry) => data.features[entry.features].name;
const entryName = (entry) => `${featureName(entry)} + ${entry.head}`;

// A name that may be broken where people would break it.
const breakable = (name) => name.split(/(?<=[_/.])/).flatMap((part, i) => (i ? [h("wbr"), part] : [part]));

// One section: a heading, a sentence, an entry in the contents.
function section(id, [title, name], lead, ...children) {
  const body = h("section", { id, "aria-labelledby": id + "-title" },
    h("h2", { id: id + "-title" }, title), lead && h("p", { class: "soft" }, lead), children);
  document.getElementById("main").append(body);
  document.getElementById("contents").append(h("li", {}, h("a", { href: "#" + id }, name)));
  return body;
}

// A table from column names and rows; numbers stand right.
function table(columns, rows, attributes) {
  const cell = (value, i) =>
    i === 0 ? h("th", { scope: "row" }, value) : h("td", { class: columns[i].num && "num" }, value);
  return h("table", attributes,
    h("thead", {}, h("tr", {}, columns.map((c) => h("th", { scope: "col", class: c.num && "num" }, c.name)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map(cell)))));
}

// Rows may be a function: a long table is made when somebody opens it.
function asTable(columns, rows) {
  const place = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table" });
  const fillIn = () => place.childElementCount || place.append(table(columns, rows()));
  if (typeof rows !== "function") place.append(table(columns, rows));
  return h("details", { ontoggle: () => typeof rows === "function" && fillIn() }, h("summary", {}, "The same as a table"), place);
}

// The tooltip: follows the pointer, or stands beside what has the focus.
const tip = document.getElementById("tip");
function showTip(content, x, y) {
  tip.replaceChildren(...[content].flat().filter(Boolean));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = Math.max(8, Math.min(x + 14, innerWidth - box.width - 8));
  const top = y + 16 + box.height > innerHeight ? y - box.height - 12 : y + 16;
  tip.style.left = left + "px";
  tip.style.top = Math.max(8, top) + "px";
}
function hideTip() { tip.hidden = true; }
function tipOn(node, content) {
  node.addEventListener("pointerenter", (e) => showTip(content(), e.clientX, e.clientY));
  node.addEventListener("pointermove", (e) => showTip(content(), e.clientX, e.clientY));
  node.addEventListener("pointerleave", hideTip);
  node.addEventListener("focus", () => {
    const box = node.getBoundingClientRect();
    showTip(content(), box.x + box.width / 2, box.y + box.height / 2);
  });
  node.addEventListener("blur", hideTip);
  return node;
}
addEventListener("keydown", (e) => { if (e.key === "Escape") hideTip(); });

function plainTable(rows) {
  const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replace(/"/g, '""')}"` : cell);
  return rows.map((row) => row.map((cell) => quoted(String(cell))).join(",") + "\n").join("");
}
// Save text as a file of the reader's.
function download(name, text) {
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
// A command with a button that copies it.
function command(text) {
  const code = h("code", {}, text);
  const button = h("button", { type: "button", class: "button small", "aria-label": "Copy the command", onclick: async () => {
    try { await navigator.clipboard.writeText(text); button.textContent = "copied"; }
    catch { getSelection().selectAllChildren(code); button.textContent = "press Ctrl+C"; }
    setTimeout(() => { button.textContent = "copy"; }, 2000);
  } }, "copy");
  return h("div", { class: "command" }, h("pre", { tabindex: 0 }, code), button);
}

// A menu of choices; calls back with the position.
function menu(label, choices, chosen, then) {
  const id = "menu-" + Math.random().toString(36).slice(2);
  const select = h("select", { id, onchange: () => then(Number(select.value)) },
    choices.map((text, i) => h("option", { value: i, selected: i === chosen }, text)));
  return h("span", {}, h("label", { for: id }, label + " "), select);
}
