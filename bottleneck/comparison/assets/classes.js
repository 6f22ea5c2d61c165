// The closer look at one entry: class by class, and what is taken for what.
function entryMenu() {
  // A menu that chooses the entry for a section, in step with every other such menu.
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

const MOST_BARS = 60;
function drawClasses() {
  const render = (entry) => {
    const { precision, recall, f1, support } = entry.per_class;
    const rows = classes.map((name, i) => ({ name, precision: precision[i], recall: recall[i], f1: f1[i], support: support[i] }))
      .filter((c) => c.support || c.precision !== null).sort((a, b) => (a.f1 ?? 0) - (b.f1 ?? 0));
    const bars = rows.slice(0, MOST_BARS).flatMap((c) => {
      const bar = h("i"), mark = h("b");
      bar.style.width = 100 * (c.recall ?? 0) + "%";
      mark.style.left = 100 * (c.precision ?? 0) + "%";
      return [h("span", { class: "name", title: c.name }, c.name),
        tipOn(h("span", { class: "bar", tabindex: 0, role: "img",
          "aria-label": `${c.name}: recall ${percent(c.recall)}, precision ${percent(c.precision)}` }, bar, c.precision !== null && mark),
        () => [h("strong", {}, c.name), `found ${percent(c.recall)} of ${plural(c.support, "image")} (recall); ${percent(c.precision)} of those called so are (precision); F1 ${percent(c.f1)}`]),
        h("span", { class: "value" }, percent(c.f1))];
    });
    return [h("p", { class: "soft" }, `Hardest first. Bar: recall; upright line: precision; number: F1. Hardest is ${rows[0].name} (${percent(rows[0].f1)}), easiest ${rows.at(-1).name} (${percent(rows.at(-1).f1)}).`,
      rows.length > MOST_BARS && ` The ${MOST_BARS} hardest of ${whole(rows.length)} are drawn; the table has all.`),
      h("div", { class: "bars" }, bars),
      asTable([{ name: "class" }, { name: "recall", num: true }, { name: "precision", num: true }, { name: "F1", num: true }, { name: "images", num: true }],
        () => rows.map((c) => [c.name, percent(c.recall), percent(c.precision), percent(c.f1), whole(c.support)]))];
  };
  section("classes", ["Class by class", "Classes"], null, entryMenu(), h("div", { class: "card" }, followed(render)));
}

// The matrix of an entry: of each true class, how often each class is said.
function matrix(entry) {
  if (!entry.matrix) {
    const cells = column(Uint32Array, entry.confusion.cells);
    entry.matrix = { rows: new Map(), totals: entry.per_class.support, errors: new Float64Array(classes.length), seen: new Set() };
    for (let at = 0; at < cells.length; at += 3) {
      const [i, j, count] = cells.subarray(at, at + 3), m = entry.matrix;
      if (!m.rows.has(i)) m.rows.set(i, new Map());
      m.rows.get(i).set(j, count);
      m.seen.add(i).add(j);
      if (i !== j) { m.errors[i] += count; m.errors[j] += count; }
    }
  }
  return entry.matrix;
}

const MOST_CLASSES = 30;
function drawConfusion() {
  const render = (entry) => {
    const m = matrix(entry), countOf = (i, j) => m.rows.get(i)?.get(j) ?? 0;
    let codes = [...m.seen].sort((a, b) => a - b);
    const all = codes.length, cut = all > MOST_CLASSES;
    if (cut) codes = codes.sort((a, b) => m.errors[b] - m.errors[a]).slice(0, MOST_CLASSES).sort((a, b) => a - b);
    const opened = h("div", { id: "cell", role: "region", "aria-live": "polite", "aria-label": "Images of the chosen cell", hidden: true });
    const cells = [];
    const body = codes.map((i, y) => h("tr", {}, h("th", { scope: "row", title: className(i) }, className(i)), codes.map((j, x) => {
      const count = countOf(i, j), total = m.totals[i], share = total ? count / total : 0;
      const words = `${className(i)} ${i === j ? "recognised" : "taken for " + className(j)}: ${count} of ${total} (${percent(share, 0)})`;
      const cell = tipOn(h("button", { type: "button", class: share > 0.6 && "deep", tabindex: x + y ? -1 : 0, "aria-label": words,
        "aria-expanded": "false", "data-true": i, "data-said": j, onclick: () => open(cell, i, j, words), onkeydown: (e) => move(e, y, x) },
        count ? Math.round(100 * share) : ""), () => [h("strong", {}, words)]);
      cell.style.background = `rgba(var(--accent-rgb), ${share ? 0.08 + 0.92 * share : 0.03})`;
      (cells[y] = cells[y] || [])[x] = cell;
      return h("td", {}, cell);
    })));
    const move = (event, y, x) => {
      if (event.key === "Escape") close();
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      const next = step && cells[y + step[0]] && cells[y + step[0]][x + step[1]];
      if (!next) return;
      event.preventDefault();
      cells[y][x].tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    };
    const close = () => {
      cells.flat().forEach((one) => one.setAttribute("aria-expanded", "false"));
      opened.replaceChildren();
      opened.hidden = true;
    };
    // It opens at the foot of the window, beside the matrix: wherever the cell is, it can be seen.
    const open = (cell, i, j, words) => {
      const was = cell.getAttribute("aria-expanded") === "true";
      close();
      if (was) return;
      cell.setAttribute("aria-expanded", "true");
      const rows = entry.mistakes.rows.filter((row) => images.label[row.image] === i && row.predicted === j);
      const about = aboutMistakes(entry);
      opened.append(h("div", { class: "cell-head" }, h("h3", {}, words),
        h("button", { type: "button", class: "button small", onclick: () => { close(); cell.focus(); } }, "close")),
        i === j ? h("p", { class: "soft" }, "These are right; only mistakes are listed.")
        : !rows.length ? h("p", { class: "soft" }, countOf(i, j) ? "None of them is among the mistakes listed on this page." : "There is no such image.")
        : gallery(rows.map((row) => row.image), about));
      opened.hidden = false;
    };
    const grid = h("table", { class: "matrix" }, h("thead", {}, h("tr", {}, h("td"), codes.map((j) => h("th", { scope: "col" }, h("span", { title: className(j) }, className(j)))))), h("tbody", {}, body));
    const worst = codes.flatMap((i) => codes.filter((j) => j !== i).map((j) => [countOf(i, j), i, j])).sort((a, b) => b[0] - a[0])[0];
    return [h("p", { class: "soft" }, "Rows are true classes, columns what the head says; numbers are percent of the row. A cell opens its images. Arrow keys move. ",
      worst && worst[0] ? `Most often ${className(worst[1])} is taken for ${className(worst[2])} (${worst[0]} times).` : "There is no mistake.",
      cut && ` Of ${whole(all)} classes, the ${MOST_CLASSES} with the most mistakes are shown; the JSON has all.`,
      entry.confusion.left_out > 0 && ` ${whole(entry.confusion.left_out)} of the emptiest cells are left out.`),
      h("div", { class: "scroll" }, grid), opened];
  };
  section("confusion", ["What is taken for what", "Confusion"], null, entryMenu(), followed(render));
}
