// Charts: drawn at the width they have, again when it changes, each with its numbers in words.
function chart(caption, describe, draw, columns, rows) {
  const place = h("div");
  let last = 0;
  new ResizeObserver(() => {
    const width = Math.round(place.clientWidth);
    if (width && width !== last) {
      last = width;
      place.replaceChildren(draw(width));
    }
  }).observe(place);
  const figure = h("figure", {}, caption && h("figcaption", {}, caption), place,
    h("p", { class: "soft" }, describe), asTable(columns, rows));
  figure.redraw = () => { if (last) place.replaceChildren(draw(last)); };
  return figure;
}

function niceTicks(low, high, count) {
  const span = high - low || 1;
  const raw = span / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((m) => m >= raw);
  const ticks = [];
  for (let t = Math.ceil(low / step - 1e-9) * step; t <= high + step * 1e-9; t += step) ticks.push(t);
  return ticks;
}
function logTicks(low, high) {
  const ticks = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++)
    for (const m of [1, 2, 5]) {
      const t = m * 10 ** p;
      if (t >= low * 0.999 && t <= high * 1.001) ticks.push(t);
    }
  return ticks;
}

const MARGIN = { top: 12, right: 18, bottom: 44, left: 52 };
// The frame of a plot: scales, grid, ticks, names of the axes.
function frame(width, height, x, y) {
  const left = MARGIN.left, right = width - (x.room || MARGIN.right);
  const top = MARGIN.top, bottom = height - MARGIN.bottom;
  const f = x.log ? Math.log10 : Number;
  const toX = (v) => left + ((f(v) - f(x.low)) / (f(x.high) - f(x.low) || 1)) * (right - left);
  const toY = (v) => bottom - ((v - y.low) / (y.high - y.low || 1)) * (bottom - top);
  let ticks = x.ticks || (x.log ? logTicks(x.low, x.high) : niceTicks(x.low, x.high, Math.max(5, width / 110)));
  if (x.log && !x.ticks) while (ticks.length > width / 60) ticks = ticks.filter((_, i) => i % 2 === 0);
  const inner = [
    niceTicks(y.low, y.high, 5).map((t) => [
      s("line", { class: "grid", x1: left, x2: right, y1: toY(t), y2: toY(t) }),
      s("text", { x: left - 8, y: toY(t) + 4, "text-anchor": "end" }, y.format(t)),
    ]),
    ticks.map((t) => [
      s("line", { class: "axis", x1: toX(t), x2: toX(t), y1: bottom, y2: bottom + 4 }),
      s("text", { x: toX(t), y: bottom + 18, "text-anchor": "middle" }, x.format(t, width)),
    ]),
    s("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }),
    s("text", { x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, x.name),
  ];
  return { toX, toY, left, right, top, bottom, inner };
}
function shape(kind, x, y, r, attributes) {
  if (kind === 0) return s("circle", { cx: x, cy: y, r, ...attributes });
  const path = (points) => points.map(([a, b], i) => `${i ? "L" : "M"}${(x + a * r).toFixed(1)} ${(y + b * r).toFixed(1)}`).join("") + "Z";
  const points = [
    [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]],
    [[0, -1.15], [1.1, 0.85], [-1.1, 0.85]],
    [[0, -1.3], [1.2, 0], [0, 1.3], [-1.2, 0]],
    [[0, 1.15], [1.1, -0.85], [-1.1, -0.85]],
  ][(kind - 1) % 4];
  return s("path", { d: path(points), ...attributes });
}
const colour = (i) => "s" + (i % 8);
function key(i, kind, name) {
  return h("li", {}, h("span", {},
    s("svg", { viewBox: "-8 -8 16 16", "aria-hidden": "true", class: colour(i) }, shape(kind, 0, 0, 5.5, { class: "fill" })),
    h("b", { title: name }, name)));
}

// Keep labels at the right end of lines from lying on each other.
function spread(wanted, gap, low, high) {
  const order = wanted.map((y, i) => [y, i]).sort((a, b) => a[0] - b[0]);
  const placed = order.map(([y]) => y);
  for (let i = 1; i < placed.length; i++) placed[i] = Math.max(placed[i], placed[i - 1] + gap);
  const over = placed.length ? placed[placed.length - 1] - high : 0;
  if (over > 0) for (let i = placed.length - 1; i >= 0; i--)
    placed[i] = Math.min(placed[i], i === placed.length - 1 ? high : placed[i + 1] - gap);
  const found = [];
  order.forEach(([, i], at) => { found[i] = Math.max(low, placed[at]); });
  return found;
}

// Lines of accuracy with their spread: learning curves, few shots, layers.
function lines(caption, describe, series, x, columns, rows) {
  const values = series.flatMap((one) => one.points.flatMap((p) => [p.low, p.high, p.y]));
  const y = {
    low: Math.max(0, Math.floor(Math.min(...values) * 20) / 20),
    high: Math.min(1, Math.ceil(Math.max(...values) * 20) / 20),
    format: (t) => percent(t, 0),
  };
  const draw = (width) => {
    const height = Math.max(240, Math.min(340, width * 0.62));
    const f = frame(width, height, x, y);
    const line = (points, at) => points.map((p, i) => `${i ? "L" : "M"}${f.toX(p.x).toFixed(1)} ${f.toY(at(p)).toFixed(1)}`).join("");
    const bands = series.map((one) => s("path", {
      class: colour(one.colour) + " fill", opacity: 0.12,
      d: line(one.points, (p) => p.high) + line([...one.points].reverse(), (p) => p.low).replace("M", "L") + "Z",
    }));
    const drawn = series.map((one) => [
      s("path", { class: colour(one.colour) + " stroke", "stroke-width": 2, d: line(one.points, (p) => p.y) }),
      one.points.map((p) => tipOn(
        shape(one.shape, f.toX(p.x), f.toY(p.y), 4.5, { class: colour(one.colour) + " fill mark", tabindex: 0, "aria-label": p.text }),
        () => [h("strong", {}, one.name), p.text])),
    ]);
    return s("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": describe }, f.inner, bands, drawn);
  };
  const legend = h("ul", { class: "legend" }, series.map((one) => key(one.colour, one.shape, one.name)));
  const figure = chart(caption, describe, draw, columns, rows);
  figure.querySelector("figcaption").after(legend);
  return figure;
}
