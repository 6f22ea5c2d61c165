// Images: thumbnails from one sheet, galleries of them, the map.
const sheet = data.thumbnails ? new Image() : null;
const waiting = [];
if (sheet) {
  sheet.onload = () => waiting.splice(0).forEach((paint) => paint());
  sheet.src = data.thumbnails.uri;
}
const image = (row) => data.images[String(row)];

function thumbnail(row, size) {
  const { key, thumb } = image(row);
  if (!sheet || thumb === undefined || thumb < 0)
    return h("span", { class: "thumbless", role: "img", "aria-label": key + " (no picture)" , "data-size": size }, "no picture");
  const { side, columns } = data.thumbnails;
  const canvas = h("canvas", { width: side, height: side, role: "img", "aria-label": key });
  canvas.style.width = canvas.style.height = size + "px";
  const paint = () => canvas.getContext("2d").drawImage(
    sheet, (thumb % columns) * side, Math.floor(thumb / columns) * side, side, side, 0, 0, side, side);
  if (sheet.complete && sheet.naturalWidth) paint(); else waiting.push(paint);
  return canvas;
}
function sized(node, size) {
  if (node.classList.contains("thumbless")) node.style.width = node.style.height = size + "px";
  return node;
}
const picture = (row, size) => sized(thumbnail(row, size), size);
const keyLine = (row) => h("span", { class: "key" }, image(row).key);

// A list of images that shows so many and then more on request.
function gallery(rows, card, first = 12) {
  const list = h("ul", { class: "gallery" });
  const more = h("button", { type: "button", class: "button" });
  let shown = 0;
  const add = (count) => {
    list.append(...rows.slice(shown, shown + count).map((row) => h("li", {}, card(row))));
    shown = Math.min(rows.length, shown + count);
    more.hidden = shown >= rows.length;
    more.textContent = `Show ${Math.min(24, rows.length - shown)} more of ${rows.length - shown}`;
  };
  more.addEventListener("click", () => add(24));
  add(first);
  return h("div", {}, list, more);
}
function surety(entry, row) {
  return entry.mistakes.by === "probability" ? percent(row.confidence, 0) : `ahead by ${number(row.confidence, 2)}`;
}
const mistakeCard = (entry) => (row) => [picture(row.image, 64), h("div", {},
  h("strong", {}, className(image(row.image).label)), ` taken for ${className(row.predicted)}, `,
  h("span", { class: "soft" }, surety(entry, row)), keyLine(row.image))];

// A menu that chooses the entry for a section, in step with every other such menu.
function entryMenu() {
  const place = menu("of:", board.map(entryName), chosen, (i) => choose(i));
  listeners.push((entry) => { place.querySelector("select").value = board.indexOf(entry); });
  return h("div", { class: "controls" }, place);
}
function followed(render) {
  const place = h("div");
  const update = (entry) => place.replaceChildren(...[render(entry)].flat().filter(Boolean));
  listeners.push(update);
  update(board[chosen]);
  return place;
}

function drawClasses() {
  const render = (entry) => {
    const rows = [...entry.per_class].filter((c) => c.support || c.precision !== null).sort((a, b) => (a.f1 ?? 0) - (b.f1 ?? 0));
    const bars = rows.flatMap((c) => {
      const bar = h("i"), mark = h("b");
      bar.style.width = 100 * (c.recall ?? 0) + "%";
      mark.style.left = 100 * (c.precision ?? 0) + "%";
      return [h("span", { class: "name", title: c.class }, c.class),
        tipOn(h("span", { class: "bar", tabindex: 0, role: "img",
          "aria-label": `${c.class}: recall ${percent(c.recall)}, precision ${percent(c.precision)}` }, bar, c.precision !== null && mark),
        () => [h("strong", {}, c.class), `found ${percent(c.recall)} of ${plural(c.support, "image")} (recall); ${percent(c.precision)} of those called so are (precision); F1 ${percent(c.f1)}`]),
        h("span", { class: "value" }, percent(c.f1))];
    });
    return [h("p", { class: "soft" }, `Hardest first. Bar: recall; upright line: precision; number: F1. Hardest is ${rows[0].class} (${percent(rows[0].f1)}), easiest ${rows.at(-1).class} (${percent(rows.at(-1).f1)}).`),
      h("div", { class: "bars" }, bars),
      asTable([{ name: "class" }, { name: "recall", num: true }, { name: "precision", num: true }, { name: "F1", num: true }, { name: "images", num: true }],
        rows.map((c) => [c.class, percent(c.recall), percent(c.precision), percent(c.f1), whole(c.support)]))];
  };
  section("classes", ["Class by class", "Classes"], null, entryMenu(), h("div", { class: "card" }, followed(render)));
}

const MOST_CLASSES = 30;
function drawConfusion() {
  const render = (entry) => {
    const all = entry.confusion;
    let codes = all.map((_, i) => i).filter((i) => all[i].some((n) => n) || all.some((row) => row[i]));
    const errors = (i) => all[i].reduce((a, n, j) => a + (j === i ? 0 : n), 0) + all.reduce((a, row, j) => a + (j === i ? 0 : row[i]), 0);
    const cut = codes.length > MOST_CLASSES;
    if (cut) codes = codes.sort((a, b) => errors(b) - errors(a)).slice(0, MOST_CLASSES).sort((a, b) => a - b);
    const opened = h("div", { id: "cell", role: "region", "aria-live": "polite", "aria-label": "Images of the chosen cell" });
    const cells = [];
    const body = codes.map((i, y) => h("tr", {}, h("th", { scope: "row", title: className(i) }, className(i)), codes.map((j, x) => {
      const count = all[i][j], total = all[i].reduce((a, b) => a + b, 0), share = total ? count / total : 0;
      const words = `${className(i)} ${i === j ? "recognised" : "taken for " + className(j)}: ${count} of ${total} (${percent(share, 0)})`;
      const cell = tipOn(h("button", { type: "button", class: share > 0.6 && "deep", tabindex: x + y ? -1 : 0, "aria-label": words,
        "aria-expanded": "false", "data-true": i, "data-said": j, onclick: () => open(cell, i, j, words), onkeydown: (e) => move(e, y, x) },
        count ? Math.round(100 * share) : ""), () => [h("strong", {}, words)]);
      cell.style.background = `rgba(var(--accent-rgb), ${share ? 0.08 + 0.92 * share : 0.03})`;
      (cells[y] = cells[y] || [])[x] = cell;
      return h("td", {}, cell);
    })));
    const move = (event, y, x) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      const next = step && cells[y + step[0]] && cells[y + step[0]][x + step[1]];
      if (!next) return;
      event.preventDefault();
      cells[y][x].tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    };
    const open = (cell, i, j, words) => {
      const was = cell.getAttribute("aria-expanded") === "true";
      cells.flat().forEach((one) => one.setAttribute("aria-expanded", "false"));
      opened.replaceChildren();
      if (was) return;
      cell.setAttribute("aria-expanded", "true");
      const rows = entry.mistakes.rows.filter((row) => image(row.image).label === i && row.predicted === j);
      opened.append(h("h3", {}, words), i === j ? h("p", { class: "soft" }, "These are right; only mistakes are listed.")
        : !rows.length ? h("p", { class: "soft" }, all[i][j] ? "None of them is among the mistakes listed on this page." : "There is no such image.")
        : gallery(rows, mistakeCard(entry)));
    };
    const grid = h("table", { class: "matrix" }, h("thead", {}, h("tr", {}, h("td"), codes.map((j) => h("th", { scope: "col" }, h("span", { title: className(j) }, className(j)))))), h("tbody", {}, body));
    const worst = codes.flatMap((i) => codes.filter((j) => j !== i).map((j) => [all[i][j], i, j])).sort((a, b) => b[0] - a[0])[0];
    return [h("p", { class: "soft" }, "Rows are true classes, columns what the head says; numbers are percent of the row. A cell opens its images. Arrow keys move. ",
      worst && worst[0] ? `Most often ${className(worst[1])} is taken for ${className(worst[2])} (${worst[0]} times).` : "There is no mistake.",
      cut && ` Of ${all.length} classes, the ${MOST_CLASSES} with the most mistakes are shown; the JSON has all.`),
      h("div", { class: "scroll" }, grid), opened];
  };
  section("confusion", ["What is taken for what", "Confusion"], null, entryMenu(), followed(render));
}

function drawMistakes() {
  const render = (entry) => entry.mistakes.rows.length
    ? [h("p", { class: "soft" }, `${plural(entry.mistakes.total, "mistake")} in ${whole(data.data.judged)}; the surest first` +
      (entry.mistakes.by === "margin" ? " (by how far the wrong class is ahead of the true one; this head gives no probabilities)." : ".")),
      gallery(entry.mistakes.rows, mistakeCard(entry))]
    : [h("p", {}, "No mistakes.")];
  section("mistakes", ["The most confident mistakes", "Mistakes"], null, entryMenu(), followed(render));
}

function drawMap() {
  const { images, maps } = data.map;
  if (!maps.length) return;
  const codes = [...new Set(images.map((row) => image(row).label))].sort((a, b) => a - b);
  const look = (code) => [codes.indexOf(code) % 8, Math.floor(codes.indexOf(code) / 8) % 5];
  let at = 0, lit = null, current = 0;
  const names = maps.map((m) => `${data.features[m.features].name}, ${m.method}`);
  const holder = h("div", { class: "card" });
  const place = h("div");
  const words = h("p", { class: "soft" });
  let points = [];
  const tell = (i) => [picture(images[i], 64), h("strong", {}, className(image(images[i]).label)), image(images[i]).key];
  const render = () => {
    const width = Math.round(place.clientWidth);
    if (!width) return;
    const map = maps[at];
    const side = Math.min(width, 760), left = (width - side) / 2, edge = 14;
    const xs = map.points.map((p) => p[0]), ys = map.points.map((p) => p[1]);
    const wide = Math.max(...xs) || 1, tall = Math.max(...ys) || 1;
    const height = Math.max(160, edge * 2 + (side - 2 * edge) * (tall / Math.max(wide, tall)));
    const scale = (side - 2 * edge) / Math.max(wide, tall);
    points = map.points.map(([x, y]) => [left + edge + x * scale, height - edge - y * scale]);
    const marks = points.map(([x, y], i) => {
      const label = image(images[i]).label, [c, k] = look(label);
      const mark = shape(k, x, y, images.length > 500 ? (width < 500 ? 2.6 : 3.6) : 5, { class: `${colour(c)} fill mark${lit !== null && lit !== label ? " dim" : ""}`, "data-point": i });
      tipOn(mark, () => tell(i));
      return mark;
    });
    const shares = map.shares ? ` The plane holds ${percent(map.shares[0] + map.shares[1], 0)} of the variance.` : " Distances between far groups mean nothing here.";
    const summary = `${plural(images.length, "image")} laid out by ${map.method} of ${data.features[map.features].name}, coloured by class.${shares}`;
    words.textContent = summary + (images.length < data.data.compared ? ` A sample of ${whole(data.data.compared)}.` : "");
    const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, role: "application", tabindex: 0, id: "map-picture",
      "aria-label": summary + " Arrow keys go from image to image.", onkeydown: (e) => walk(e, marks) }, marks);
    place.replaceChildren(svg);
  };
  const walk = (event, marks) => {
    const step = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    const [x, y] = points[current];
    let best = -1, least = Infinity;
    points.forEach(([px, py], i) => {
      const along = (px - x) * step[0] + (py - y) * step[1], aside = Math.abs((px - x) * step[1]) + Math.abs((py - y) * step[0]);
      if (i !== current && along > 0.5 && aside <= 2 * along && along + 2 * aside < least) [best, least] = [i, along + 2 * aside];
    });
    if (best < 0) return;
    marks[current].classList.remove("at");
    current = best;
    marks[current].classList.add("at");
    const box = marks[current].getBoundingClientRect();
    showTip(tell(current), box.x, box.y);
  };
  const buttons = codes.map((code) => h("button", { type: "button", "aria-pressed": "false", onclick: () => {
    lit = lit === code ? null : code;
    buttons.forEach((b, i) => b.setAttribute("aria-pressed", String(codes[i] === lit)));
    render();
  } }, s("svg", { viewBox: "-8 -8 16 16", "aria-hidden": "true", class: colour(look(code)[0]) }, shape(look(code)[1], 0, 0, 5.5, { class: "fill" })), h("b", {}, className(code))));
  let last = 0;
  new ResizeObserver(() => { if (Math.abs(place.clientWidth - last) > 1) { last = place.clientWidth; render(); } }).observe(place);
  holder.append(h("div", { class: "controls" }, menu("map:", names, 0, (i) => { at = i; render(); })),
    h("ul", { class: "legend", "aria-label": "Classes; a click lights one up" }, buttons.map((b) => h("li", {}, b))), place, words);
  section("map", ["The images as the backbone sees them", "Map"], "Images that lie together look alike to the backbone. A point shows its image.", holder);
}

function drawLabels() {
  const found = data.label_errors;
  if (!found.rows.length) return;
  section("labels", ["Likely label errors", "Labels"],
    `${plural(found.likely, "label")} of ${whole(data.data.compared)} may be wrong: another class is at least as likely as it usually is for its own images, says a head that never saw the image (${found.by}). Look before you believe it: rare and odd images come up too.`,
    gallery(found.rows, (row) => [picture(row.image, 64), h("div", {}, "labelled ", h("strong", {}, className(image(row.image).label)), `, looks like `,
      h("strong", {}, className(row.suggested)), h("span", { class: "soft" }, ` (${percent(row.given_probability, 0)} against ${percent(row.suggested_probability, 0)})`),
      row.likely && [" ", h("span", { class: "tag warn" }, "likely error")], keyLine(row.image))]));
}

function drawDuplicates() {
  const found = data.duplicates;
  const cosines = found.least_cosine && [...new Set(found.least_cosine.map((c) => c.toFixed(3)))].join(" to ");
  const lead = `${plural(found.exact, "set")} of equal files` + (found.searched_near
    ? `, ${plural(found.near, "set")} of nearly equal images: their features on ${found.features} are alike as those of different images hardly ever are ` +
      `(cosine of at least ${cosines}, ${found.threshold === null ? "from the data" : "as asked for"}). `
    : `; nearly equal images were not looked for, there are more than ${whole(found.most_rows)}. `) +
    (!found.test_split ? `${found.searched_near ? "Duplicates" : "Equal files"} are in one fold, so none is judged by a head that learnt it.`
      : found.leaked_rows ? `${plural(found.leaked_rows, "test image")} are training images again: they flatter every score above.`
      : found.searched_near ? "None crosses from training to test." : "No equal files cross from training to test.");
  const item = (set) => h("li", {},
    set.leak && [h("span", { class: "tag warn" }, "leak: in training and test"), " "], h("span", { class: "tag" }, set.exact ? "equal files" : `cosine ${set.similarity.toFixed(3)}`),
    set.conflict && [" ", h("span", { class: "tag warn" }, "labels differ")],
    h("ul", {}, set.images.slice(0, 12).map((row) => h("li", {}, picture(row, 48), h("div", {}, className(image(row).label), image(row).split && ` (${image(row).split})`, keyLine(row))))),
    set.size > 12 && h("p", { class: "soft" }, `and ${whole(set.size - 12)} more`));
  const most = Math.min(60, found.sets.length), rest = found.exact + found.near - most;
  section("duplicates", ["Duplicates and leaks", "Duplicates"], lead, found.sets.length > 0 && h("ul", { class: "sets" }, found.sets.slice(0, most).map(item)),
    rest > 0 && h("p", { class: "soft" }, `${whole(rest)} more sets are not shown here; the JSON lists ${whole(found.sets.length)} of them, leaks first.`));
}
