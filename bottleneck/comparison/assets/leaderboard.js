// The verdict, the leaderboard, cost against quality, learning curves.
const board = data.leaderboard;
const heads = data.heads;
const listeners = [];
let chosen = 0; // the entry that the closer looks are about
function choose(i, scroll) {
  chosen = i;
  listeners.forEach((listen) => listen(board[i]));
  if (scroll) document.getElementById("classes").scrollIntoView();
}

// What to take, what it rests on, and how to make it again.
function drawVerdict() {
  const best = board[0], d = data.data, take = data.take, taken = board[take.entry];
  const rows = d.estimate === "test split" ? "test images" : "images, each by heads that never saw it";
  const cost = `${short(take.value)} ${take.unit}`;
  const why = board.length < 2 ? "it is all that was compared"
    : take.candidates === 1 ? "every other one is clearly behind"
    : "nothing better can be told apart, and it is the cheapest of those";
  document.getElementById("verdict").textContent = `Take ${featureName(taken)} with ${taken.head}: ${percent(taken.accuracy)} right`;
  const ci = taken.intervals.accuracy;
  document.getElementById("verdict-more").append(
    h("strong", {}, `${why[0].toUpperCase()}${why.slice(1)} (${cost}). `),
    `${Math.round(100 * data.level)}% interval ${percent(ci[0])} to ${percent(ci[1])}, on ${whole(d.judged)} ${rows}. `,
    take.candidates < 2 ? "" : `${taken === best ? "It leads" : `${entryName(best)} leads with ${percent(best.accuracy)}`}; ${take.candidates - 1} of the other ${board.length - 1} cannot be told apart from ${taken === best ? "it" : "that"} on so many images. `,
    `Always saying ${plain(d.baseline.class)} would be right for ${percent(d.baseline.accuracy)}.`);
  document.getElementById("take").append(
    take.extract && command(plain(take.extract)), command(plain(take.train)),
    data.saved ? h("p", { class: "soft" }, "The head is saved in ", h("code", {}, plain(data.saved)), ".") : "");
}
function drawFacts() {
  const d = data.data;
  const facts = [["images", whole(d.compared)], ["classes", whole(classes.length)]];
  if (board.length) facts.push(["to learn from", whole(d.train)], ["to judge by", whole(d.judged)]);
  if (d.baseline) facts.push(["majority baseline", percent(d.baseline.accuracy)]);
  const out = Object.values(d.left_out).reduce((a, b) => a + b, 0);
  if (out) facts.push(["left out everywhere", whole(out), "warn"]);
  if (data.label_errors.likely) facts.push(["likely label errors", whole(data.label_errors.likely), "warn"]);
  if (data.duplicates.leaks) facts.push(["leaks", whole(data.duplicates.leaks), "warn"]);
  document.getElementById("facts").append(
    ...facts.map(([name, value, kind]) => h("div", { class: kind }, h("dt", {}, name), h("dd", {}, value))));
}

// A tiny picture of an interval, on the scale of the whole column.
function intervalPicture(entry, low, high) {
  const width = 110, x = (v) => 4 + ((v - low) / (high - low || 1)) * (width - 8);
  const [a, b] = entry.intervals.accuracy;
  return s("svg", { width, height: 16, viewBox: `0 0 ${width} 16`, "aria-hidden": "true", class: colour(entry.features) },
    s("line", { x1: x(a), x2: x(b), y1: 8, y2: 8, class: "stroke", "stroke-width": 3, "stroke-linecap": "round", opacity: 0.45 }),
    s("circle", { cx: x(entry.accuracy), cy: 8, r: 4.5, class: "fill" }));
}

function drawLeaderboard() {
  const low = Math.min(...board.map((e) => e.intervals.accuracy[0]));
  const high = Math.max(...board.map((e) => e.intervals.accuracy[1]));
  const cost = (name) => (e) => e.costs[name];
  const rate = (e) => (e.costs.milliseconds_per_image === null ? null : 1000 / e.costs.milliseconds_per_image);
  const interval = (e, name, show) => {
    const ci = e.intervals[name];
    return ci ? `${Math.round(100 * data.level)}% interval ${show(ci[0])} to ${show(ci[1])}` : null;
  };
  const columns = [
    { name: "features + head", value: entryName, cell: (e) => h("button", {
      type: "button", title: `A closer look at ${entryName(e)}`, onclick: () => choose(board.indexOf(e), true) },
      h("span", {}, breakable(featureName(e))), h("i", {}, " + " + e.head)) },
    { name: "accuracy", num: true, down: true, value: (e) => e.accuracy, cell: (e) => percent(e.accuracy) },
    { name: "95% interval", value: (e) => e.intervals.accuracy[0], down: true, cell: (e) => h("span", { title: interval(e, "accuracy", percent) },
      intervalPicture(e, low, high)) },
    { name: "against the best", value: (e) => e.rank, cell: (e) => !e.versus_best ? h("span", { class: "tag good" }, "best")
      : e.versus_best.distinguishable ? h("span", { class: "tag" }, "behind") : h("span", { class: "tag good" }, "not distinguishable") },
    { name: "behind by", num: true, value: (e) => (e.versus_best ? e.versus_best.difference.mean : 0), cell: (e) => !e.versus_best ? "–"
      : h("span", { title: `95% interval ${percent(e.versus_best.difference.low)} to ${percent(e.versus_best.difference.high)}` },
        (100 * e.versus_best.difference.mean).toFixed(1)) },
    { name: "p", num: true, value: (e) => (e.versus_best ? e.versus_best.p_adjusted : 2), down: true, cell: (e) => !e.versus_best ? "–"
      : h("span", { title: `for this pair alone: McNemar exact ${pValue(e.versus_best.mcnemar_exact)}, mid-p ${pValue(e.versus_best.mcnemar_mid_p)}; paired bootstrap ${pValue(e.versus_best.difference.p)}` },
        pValue(e.versus_best.p_adjusted)) },
    ...["macro_f1", "balanced_accuracy", "top_5_accuracy"].map((name) => ({
      name: { macro_f1: "macro F1", balanced_accuracy: "balanced", top_5_accuracy: "top 5" }[name], num: true, down: true,
      value: (e) => e[name], cell: (e) => h("span", { title: interval(e, name, percent) }, percent(e[name])) })),
    { name: "log loss", num: true, value: (e) => e.log_loss, cell: (e) => h("span", { title: interval(e, "log_loss", number) }, number(e.log_loss)) },
    { name: "calibration error", num: true, value: (e) => e.calibration_error, cell: (e) => number(e.calibration_error) },
    { name: "images/s", num: true, down: true, value: rate, cell: (e) => short(rate(e)) },
    { name: "parameters", num: true, value: cost("parameters"), cell: (e) => short(e.costs.parameters) },
    { name: "licence", value: (e) => e.licence ?? null, cell: (e) => e.licence ?? "–" },
    { name: "length", num: true, value: cost("length"), cell: (e) => whole(e.costs.length) },
    { name: "bytes/image", num: true, value: cost("bytes_per_image"), cell: (e) => whole(e.costs.bytes_per_image) },
    { name: "select + fit", num: true, value: cost("fit_seconds"), cell: (e) => short(e.costs.fit_seconds) + " s" },
    { name: "chosen", value: (e) => params(e.best), cell: (e) => params(e.best) },
  ].filter((c) => c.name === "accuracy" || board.some((e) => c.value(e) !== null));
  const body = h("tbody");
  const headers = columns.map((column, i) => h("th", { scope: "col", class: column.num && "num", "aria-sort": "none" },
    h("button", { type: "button", onclick: () => sort(i) }, column.name)));
  let sorted = null, down = false;
  const render = (entries) => body.replaceChildren(...entries.map((e) => h("tr", { class: board.indexOf(e) === chosen && "chosen" },
    columns.map((c, i) => i === 0 ? h("th", { scope: "row" }, c.cell(e)) : h("td", { class: c.num && "num" }, c.cell(e))))));
  let shown = board;
  function sort(i) {
    const column = columns[i];
    down = sorted === i ? !down : Boolean(column.down);
    sorted = i;
    const worth = (e) => column.value(e);
    shown = [...board].sort((a, b) => {
      const x = worth(a), y = worth(b);
      if (x === null || y === null) return (x === null) - (y === null); // what is unknown goes last
      return (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y) * (down ? -1 : 1);
    });
    headers.forEach((header, at) => header.setAttribute("aria-sort", at !== i ? "none" : down ? "descending" : "ascending"));
    render(shown);
  }
  listeners.push(() => render(shown));
  const grid = h("table", { class: "board", id: "leaderboard" }, h("thead", {}, h("tr", {}, headers)), body);
  render(shown);
  sorted = columns.findIndex((c) => c.name === "accuracy");
  down = true;
  headers[sorted].setAttribute("aria-sort", "descending");
  section("board", ["Leaderboard", "Leaderboard"],
    "Sorted by accuracy; a click on a heading sorts by it, a click on a name takes a closer look below. p is adjusted for the number of entries, and for the best having been picked on the same images.",
    scrolling("Leaderboard", grid));
}
// A wide table in a box that says when there is more of it to the right.
function scrolling(name, grid) {
  const box = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": name }, grid);
  const cue = h("p", { class: "cue soft", "aria-hidden": "true" });
  const look = () => {
    const hidden = [...grid.tHead.rows[0].cells].filter((cell) => cell.offsetLeft + cell.offsetWidth > box.scrollLeft + box.clientWidth + 1);
    cue.textContent = hidden.length ? `scroll for ${plural(hidden.length, "more column")} \u2192` : "";
    box.classList.toggle("more", hidden.length > 0);
  };
  box.addEventListener("scroll", look, { passive: true });
  new ResizeObserver(look).observe(box);
  return h("div", {}, cue, box);
}

function drawPareto() {
  const kinds = [
    { name: "milliseconds_per_image", label: "extraction, milliseconds per image" },
    { name: "parameters", label: "parameters of the backbone" },
    { name: "length", label: "numbers per image" },
    { name: "bytes_per_image", label: "bytes per image" },
    { name: "fit_seconds", label: "seconds to select and fit" },
  ].filter((kind) => board.some((e) => e.costs[kind.name] !== null && e.costs[kind.name] > 0));
  if (!kinds.length) return;
  // Costs that tell something apart come first: layers of one backbone cost the same to extract.
  const differs = (kind) => new Set(board.map((e) => e.costs[kind.name])).size > 1 && kind.name !== "fit_seconds";
  kinds.sort((a, b) => differs(b) - differs(a));
  const body = h("div", { class: "card" });
  let shown = kinds[0], logarithmic = false;
  const draw = (kind) => {
    const entries = board.filter((e) => e.costs[kind.name] !== null);
    const xs = entries.map((e) => e.costs[kind.name]);
    const low = Math.min(...xs), high = Math.max(...xs);
    const log = logarithmic && low > 0;
    const x = log ? { low: low / 1.25, high: high * 1.25, log } : { low: 0, high: high * 1.08 || 1, log };
    const ys = entries.flatMap((e) => e.intervals.accuracy);
    const y = { low: Math.floor(Math.min(...ys) * 20) / 20, high: Math.ceil(Math.max(...ys) * 20) / 20, format: (t) => percent(t, 0) };
    const front = entries.filter((e) => e.pareto.includes(kind.name)).sort((a, b) => a.costs[kind.name] - b.costs[kind.name]);
    const words = `${kind.label}: not beaten in both are ${front.map((e) => `${entryName(e)} (${short(e.costs[kind.name])}, ${percent(e.accuracy)})`).join(", ")}.`;
    const picture = (width) => {
      const height = Math.max(280, Math.min(420, width * 0.5));
      const f = frame(width, height, { ...x, name: kind.label, format: short }, y);
      // Heads on the same features cost the same to extract: side by side they can be told apart.
      const aside = kind.name === "fit_seconds" ? 0 : Math.min(11, width / 60);
      const dodge = (e) => (heads.indexOf(e.head) - (heads.length - 1) / 2) * aside;
      const at = (e) => [f.toX(e.costs[kind.name]) + dodge(e), f.toY(e.accuracy)];
      const step = front.map((e, i) => {
        const [px, py] = at(e);
        return i ? `H${px.toFixed(1)}V${py.toFixed(1)}` : `M${px.toFixed(1)} ${py.toFixed(1)}`;
      }).join("") + (front.length ? `H${f.right}` : "");
      const whiskers = entries.map((e) => s("line", {
        class: colour(e.features) + " stroke", opacity: 0.3, "stroke-width": 2,
        x1: at(e)[0], x2: at(e)[0], y1: f.toY(e.intervals.accuracy[0]), y2: f.toY(e.intervals.accuracy[1]) }));
      const marks = entries.map((e) => tipOn(
        shape(heads.indexOf(e.head), ...at(e), 6.5, {
          class: colour(e.features) + " fill mark", tabindex: 0, role: "button",
          "aria-label": `${entryName(e)}: ${percent(e.accuracy)}, ${short(e.costs[kind.name])}`,
          onclick: () => choose(board.indexOf(e), true),
          onkeydown: (event) => { if (event.key === "Enter") choose(board.indexOf(e), true); } }),
        () => [h("strong", {}, entryName(e)), `${percent(e.accuracy)} (${percent(e.intervals.accuracy[0])} to ${percent(e.intervals.accuracy[1])}), ${kind.label}: ${short(e.costs[kind.name])}`]));
      return s("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": words }, f.inner, s("path", { class: "front", d: step }), whiskers, marks);
    };
    const figure = chart(null, words, picture, [{ name: "features + head" }, { name: kind.label, num: true }, { name: "accuracy", num: true }, { name: "on the front" }],
      entries.map((e) => [entryName(e), short(e.costs[kind.name]), percent(e.accuracy), front.includes(e) ? "yes" : ""]));
    figure.id = "pareto-figure";
    return figure;
  };
  const legend = h("ul", { class: "legend", "aria-label": "Colours are features, shapes are heads" },
    data.features.map((one, i) => key(i, 0, one.name)), heads.map((name, i) => key(6, i, name)));
  let figure = draw(shown);
  const again = () => {
    const next = draw(shown);
    figure.replaceWith(next);
    figure = next;
  };
  const scale = h("input", { type: "checkbox", id: "log-cost", onchange: () => { logarithmic = scale.checked; again(); } });
  body.append(h("div", { class: "controls" }, menu("cost:", kinds.map((k) => k.label), 0, (i) => { shown = kinds[i]; again(); }),
    h("span", {}, scale, h("label", { for: "log-cost" }, " logarithmic"))), legend, figure);
  const machines = new Set(data.features.map((one) => one.cost.machine).filter(Boolean));
  const devices = new Set(data.features.map((one) => one.cost.device).filter(Boolean));
  const where = machines.size ? ` Extraction was timed on ${[...machines].join(" and ")} (${[...devices].join(", ")}).` : "";
  section("cost", ["Accuracy against cost", "Cost"],
    "The dashed line joins what nothing else beats in both: less cost and more accuracy. Whiskers are 95% intervals." + where,
    machines.size > 1 && h("p", { class: "note" }, "The files were made on different machines: their rates do not compare."), body);
}

function drawCurves() {
  const series = (name, value) => data.curves.filter((c) => c[name].length > 1).map((c) => ({
    name: featureName(c), colour: c.features, shape: Math.floor(c.features / 8),
    points: c[name].map((p) => ({ x: value(p), y: p.mean, low: Math.max(0, p.mean - p.std), high: Math.min(1, p.mean + p.std),
      text: `${percent(p.mean)} ± ${percent(p.std)} from ${plural(p.rows, "image")}` })) }));
  const cards = [];
  const make = (name, caption, value, label, ticks) => {
    const found = series(name, value);
    if (!found.length) return;
    const all = found.flatMap((one) => one.points.map((p) => p.x));
    const ends = [...found].sort((a, b) => b.points.at(-1).y - a.points.at(-1).y);
    const told = ends.length > 3 ? [ends[0], ends.at(-1)] : ends;
    const words = told.map((one) => `${one.name} goes from ${percent(one.points[0].y)} to ${percent(one.points.at(-1).y)}`).join("; ") +
      (told.length < ends.length ? "; the others end between." : ".");
    cards.push(h("div", { class: "card" }, lines(caption, words, found,
      { low: Math.min(...all), high: Math.max(...all), log: true, name: label, format: short, ticks },
      [{ name: "features + head" }, { name: label, num: true }, { name: "accuracy", num: true }, { name: "spread", num: true }],
      data.curves.flatMap((c) => c[name].map((p) => [`${featureName(c)} + ${c.head}`, short(value(p)), percent(p.mean), percent(p.std)])))));
  };
  const grown = data.curves[0]?.head;  // none where no head of the comparison learns from few rows
  make("curve", `With more training images, ${grown}`, (p) => p.rows, "training images");
  make("shots", `With a few images per class, ${grown}`, (p) => p.shots, "images per class",
    [...new Set(data.curves.flatMap((c) => c.shots.map((p) => p.shots)))]);
  if (cards.length) section("curves", ["How many images it takes", "Data"],
    "Heads fitted on parts of the training images and scored on others of them; bands are one standard deviation over folds or draws. A line that still climbs asks for more data.",
    h("div", { class: "pair" }, cards));
}

function drawLayers() {
  const files = [...new Set(data.features.map((one) => one.file))];
  for (const file of files) {
    const own = data.features.map((one, i) => ({ ...one, i })).filter((one) => one.file === file);
    if (own.length < 3) continue;
    const pools = new Set(own.map((one) => one.output.split(".").at(-1)));
    const names = own.map((one) => (pools.size === 1 ? one.output.replace(/\.[^.]*$/, "") : one.output));
    const found = heads.map((head, at) => ({
      name: head, colour: at, shape: at,
      points: own.map((one, x) => {
        const e = board.find((b) => b.features === one.i && b.head === head);
        return { x, y: e.accuracy, low: e.intervals.accuracy[0], high: e.intervals.accuracy[1], text: `${one.output}: ${percent(e.accuracy)}` };
      }) }));
    const best = board.find((e) => own.some((one) => one.i === e.features));
    const next = board.find((e) => e.features !== best.features && own.some((one) => one.i === e.features));
    const output = (e) => `${data.features[e.features].output} with ${e.head} (${percent(e.accuracy)})`;
    const words = `The best layer is ${output(best)}, ${(100 * (best.accuracy - next.accuracy)).toFixed(1)} points ahead of the next, ${output(next)}` +
      (best !== board[0] ? "." : next.versus_best.distinguishable ? "; the two are told apart." : "; these images cannot tell the two apart.");
    const numbered = h("ol", { class: "numbered" }, own.map((one) => h("li", {}, breakable(one.output))));
    section("layers", ["How many layers to reuse", "Layers"], `Outputs of ${own[0].backbone}, in the order asked for; where there is no room for names, by their number.`,
      h("div", { class: "card" }, numbered, lines("Accuracy by layer", words, found,
        { low: 0, high: own.length - 1, name: "output", room: 40, ticks: own.map((_, i) => i),
          format: (t, width) => ((width - 90) / own.length > 8 * Math.max(...names.map((n) => n.length)) ? names[t] : String(t + 1)) },
        [{ name: "output" }, { name: "length", num: true }, ...heads.map((name) => ({ name, num: true }))],
        own.map((one, x) => [`${x + 1}: ${one.output}`, whole(one.cost.length), ...found.map((series) => percent(series.points[x].y))]))));
  }
}
