// The map: images as points of a canvas; look at one, or choose some with a box or a lasso.
function drawMap() {
  const shown = column(Uint32Array, data.map.images);
  const maps = data.map.maps.map((one) => ({ ...one, points: column(Uint16Array, one.points) }));
  if (!maps.length) return;
  const codes = [...new Set(Array.from(shown, (i) => images.label[i]))].sort((a, b) => a - b);
  const lookOf = new Map(codes.map((code, at) => [code, [at % 8, Math.floor(at / 8) % 5]]));
  let at = 0, lit = -1, current = -1, words = "", tool = "look", drawing = null;
  const chosenPoints = new Set();
  const canvas = h("canvas", { id: "map-picture", tabindex: 0, role: "application" });
  const summary = h("p", { class: "soft" }), place = h("div", { class: "map" }, canvas);
  const panel = h("div", { id: "selection", role: "region", "aria-label": "Chosen images" });
  let xs = [], ys = [], width = 0, height = 0, radius = 4;

  const styles = () => getComputedStyle(document.documentElement);
  function layOut() {
    width = Math.round(place.clientWidth);
    if (!width) return;
    const { points } = maps[at], n = points.length / 2;
    const side = Math.min(width, 900), edge = 14, left = (width - side) / 2;
    let wide = 1, tall = 1;
    for (let i = 0; i < n; i++) { wide = Math.max(wide, points[2 * i]); tall = Math.max(tall, points[2 * i + 1]); }
    const scale = (side - 2 * edge) / Math.max(wide, tall);
    height = Math.max(200, Math.round(2 * edge + tall * scale));
    xs = new Float32Array(n); ys = new Float32Array(n);
    for (let i = 0; i < n; i++) { xs[i] = left + edge + points[2 * i] * scale; ys[i] = height - edge - points[2 * i + 1] * scale; }
    radius = (n > 5000 ? 1.8 : n > 500 ? 2.8 : 4.2) * (width < 500 ? 0.8 : 1);
    const ratio = devicePixelRatio || 1;
    canvas.width = width * ratio; canvas.height = height * ratio;
    canvas.style.width = width + "px"; canvas.style.height = height + "px";
    const map = maps[at];
    const shares = map.shares ? ` The plane holds ${percent(map.shares[0] + map.shares[1], 0)} of the variance.` : " Distances between far groups mean nothing here.";
    const text = `${plural(n, "image")} laid out by ${map.method} of ${data.features[map.features].name}, coloured by class.${shares}`;
    summary.textContent = text + (n < data.data.compared ? ` A sample of ${whole(data.data.compared)}.` : "") + (codes.length > 40 ? " More classes than looks: colours repeat." : "");
    canvas.setAttribute("aria-label", text + " Arrow keys go from image to image, Space chooses, Enter enlarges, Escape forgets the choice.");
    paint();
  }
  function trace(c, kind, x, y, r) {
    if (kind === 0) { c.moveTo(x + r, y); c.arc(x, y, r, 0, 7); return; }
    const shapes = [[[-1, -1], [1, -1], [1, 1], [-1, 1]], [[0, -1.2], [1.15, 0.9], [-1.15, 0.9]], [[0, -1.35], [1.2, 0], [0, 1.35], [-1.2, 0]], [[0, 1.2], [1.15, -0.9], [-1.15, -0.9]]];
    shapes[kind - 1].forEach(([a, b], i) => (i ? c.lineTo(x + a * r, y + b * r) : c.moveTo(x + a * r, y + b * r)));
    c.closePath();
  }
  const found = (i) => words && rawKey(shown[i]).toLowerCase().includes(words);
  function paint() {
    const c = canvas.getContext("2d"), css = styles(), ratio = devicePixelRatio || 1;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    const groups = new Map();
    for (let i = 0; i < xs.length; i++) {
      const code = images.label[shown[i]];
      const dim = (lit >= 0 && lit !== code) || (words && !found(i));
      const [colourAt, kind] = lookOf.get(code), name = `${colourAt} ${kind} ${dim ? 1 : 0}`;
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(i);
    }
    for (const [name, points] of [...groups].sort((a, b) => b[0].slice(-1) - a[0].slice(-1))) {
      const [colourAt, kind, dim] = name.split(" ").map(Number);
      c.globalAlpha = dim ? 0.12 : 0.85;
      c.fillStyle = css.getPropertyValue(`--c${colourAt}`);
      c.beginPath();
      for (const i of points) trace(c, kind, xs[i], ys[i], radius);
      c.fill();
    }
    c.globalAlpha = 1;
    c.strokeStyle = css.getPropertyValue("--ink");
    c.lineWidth = 1.5;
    c.beginPath();
    for (const i of chosenPoints) if (i < xs.length) trace(c, 0, xs[i], ys[i], radius + 1.5);
    c.stroke();
    if (current >= 0 && current < xs.length) { c.lineWidth = 2.5; c.beginPath(); trace(c, 0, xs[current], ys[current], radius + 4); c.stroke(); }
    if (drawing && drawing.length > 1) {
      c.setLineDash([5, 4]); c.lineWidth = 1.5; c.beginPath();
      if (tool === "box") { const [a, b] = [drawing[0], drawing.at(-1)]; c.rect(a[0], a[1], b[0] - a[0], b[1] - a[1]); }
      else drawing.forEach(([x, y], i) => (i ? c.lineTo(x, y) : c.moveTo(x, y)));
      c.stroke(); c.setLineDash([]);
    }
  }
  // For tests and for people with a console: where a point is drawn.
  canvas.placeOf = (i) => [xs[i], ys[i]];
  const where = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.x, event.clientY - box.y]; };
  function nearest([x, y], within) {
    let best = -1, least = within * within;
    for (let i = 0; i < xs.length; i++) { const d = (xs[i] - x) ** 2 + (ys[i] - y) ** 2; if (d <= least) [best, least] = [i, d]; }
    return best;
  }
  const tell = (i) => [picture(shown[i], 64), h("strong", {}, labelOf(shown[i])), keyOf(shown[i])];
  function inside(polygon) {
    const hit = [];
    if (tool === "box") {
      const [a, b] = [polygon[0], polygon.at(-1)];
      for (let i = 0; i < xs.length; i++)
        if (xs[i] >= Math.min(a[0], b[0]) && xs[i] <= Math.max(a[0], b[0]) && ys[i] >= Math.min(a[1], b[1]) && ys[i] <= Math.max(a[1], b[1])) hit.push(i);
      return hit;
    }
    for (let i = 0; i < xs.length; i++) {
      let odd = false;
      for (let p = 0, q = polygon.length - 1; p < polygon.length; q = p++) {
        const [px, py] = polygon[p], [qx, qy] = polygon[q];
        if ((py > ys[i]) !== (qy > ys[i]) && xs[i] < ((qx - px) * (ys[i] - py)) / (qy - py) + px) odd = !odd;
      }
      if (odd) hit.push(i);
    }
    return hit;
  }
  const rows = () => [...chosenPoints].sort((a, b) => a - b).map((i) => shown[i]);
  function choosePoints(points, add) {
    if (!add) chosenPoints.clear();
    points.forEach((i) => chosenPoints.add(i));
    paint(); drawPanel();
  }
  function drawPanel(alike = null) {
    const list = rows();
    if (!list.length) { panel.replaceChildren(); return; }
    const counts = new Map();
    list.forEach((i) => counts.set(labelOf(i), (counts.get(labelOf(i)) || 0) + 1));
    const most = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 5).map(([name, count]) => `${whole(count)} ${name}`).join(", ");
    panel.replaceChildren(h("h3", {}, `${plural(list.length, "image")} chosen`), h("p", { class: "soft" }, most + (counts.size > 5 ? ", ..." : "")),
      h("div", { class: "controls" },
        h("button", { type: "button", class: "button", id: "similar", onclick: () => drawPanel(similarTo(list, 24)) }, "Images like these"),
        h("button", { type: "button", class: "button", id: "export-list", onclick: () => download("selection.csv", plainTable([["path", "label", "split"], ...list.map((i) => [rawKey(i), data.data.classes[images.label[i]], splitOf(i)])])) }, "Download the list"),
        h("button", { type: "button", class: "button", onclick: () => { list.forEach((i) => marks.set(i, { verdict: "wrong" })); marked(list); } }, "Mark all as wrong"),
        h("button", { type: "button", class: "button", onclick: () => choosePoints([]) }, "Forget the choice")),
      ...[gallery(list, plainAbout)],
      ...(alike ? [h("h3", {}, "Images like these"), h("p", { class: "soft" },
        `By ${images.similar.axes} directions that hold ${percent(images.similar.share, 0)} of the variance of ${images.similar.features}; bottleneck neighbors searches exactly.`),
        gallery(alike, plainAbout)] : []));
  }
  canvas.addEventListener("pointermove", (event) => {
    const point = where(event);
    if (drawing) { drawing.push(point); paint(); return; }
    const i = nearest(point, 12);
    canvas.style.cursor = tool !== "look" ? "crosshair" : i < 0 ? "default" : "pointer";
    if (i < 0) hideTip(); else showTip(tell(i), event.clientX, event.clientY);
  });
  canvas.addEventListener("pointerleave", hideTip);
  canvas.addEventListener("pointerdown", (event) => {
    if (tool === "look" || event.button) return;
    hideTip();
    canvas.setPointerCapture(event.pointerId);
    drawing = [where(event)];
    event.preventDefault();
    canvas.focus({ preventScroll: true });
  });
  canvas.addEventListener("pointerup", (event) => {
    if (drawing) {
      const polygon = [...drawing, where(event)];
      drawing = null;
      choosePoints(inside(polygon), event.shiftKey);
    } else if (tool === "look" && event.button === 0) {
      const i = nearest(where(event), 12);
      if (i >= 0) { current = i; paint(); look(shown[i], chosenPoints.has(i) ? rows() : [shown[i]]); }
    }
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { hideTip(); choosePoints([]); return; }
    if (event.key === "Enter" && current >= 0) { event.preventDefault(); look(shown[current], [shown[current]]); return; }
    if (event.key === " " && current >= 0) {
      event.preventDefault();
      if (!chosenPoints.delete(current)) chosenPoints.add(current);
      paint(); drawPanel();
      return;
    }
    const step = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    const from = Math.max(0, current);
    let best = -1, least = Infinity;
    for (let i = 0; i < xs.length; i++) {
      const dx = xs[i] - xs[from], dy = ys[i] - ys[from];
      const along = dx * step[0] + dy * step[1], aside = Math.abs(dx * step[1]) + Math.abs(dy * step[0]);
      if (i !== from && along > 0.5 && aside <= 2 * along && along + 2 * aside < least) [best, least] = [i, along + 2 * aside];
    }
    if (best >= 0) current = best; else if (current < 0) current = 0; else return;
    paint();
    const box = canvas.getBoundingClientRect();
    showTip(tell(current), box.x + xs[current], box.y + ys[current]);
  });
  canvas.addEventListener("blur", hideTip);
  const tools = [["look", "look"], ["box", "choose with a box"], ["lasso", "choose with a lasso"]].map(([name, text]) => h("button", {
    type: "button", class: "button", "data-tool": name, "aria-pressed": String(name === tool), onclick: () => {
      tool = name;
      canvas.style.touchAction = tool === "look" ? "auto" : "none";
      tools.forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.tool === tool)));
    } }, text));
  const search = h("input", { type: "search", id: "search-map", placeholder: "part of a key", oninput: () => { words = search.value.toLowerCase(); paint(); },
    onkeydown: (event) => { if (event.key === "Enter" && words) choosePoints(Array.from(xs, (_, i) => i).filter(found)); } });
  const legend = codes.length > 40
    ? menu("light up:", ["all classes", ...codes.map(className)], 0, (i) => { lit = i ? codes[i - 1] : -1; paint(); })
    : h("ul", { class: "legend", "aria-label": "Classes; a click lights one up" }, codes.map((code) => {
      const [colourAt, kind] = lookOf.get(code);
      const button = h("button", { type: "button", "aria-pressed": "false", "data-code": code, onclick: () => {
        lit = lit === code ? -1 : code;
        legend.querySelectorAll("button").forEach((one) => one.setAttribute("aria-pressed", String(Number(one.dataset.code) === lit)));
        paint();
      } }, s("svg", { viewBox: "-8 -8 16 16", "aria-hidden": "true", class: colour(colourAt) }, shape(kind, 0, 0, 5.5, { class: "fill" })), h("b", { title: className(code) }, className(code)));
      return h("li", {}, button);
    }));
  let last = 0;
  new ResizeObserver(() => { if (Math.abs(place.clientWidth - last) > 1) { last = place.clientWidth; layOut(); } }).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => paint());
  section("map", ["The images as the backbone sees them", "Map"], "Images that lie together look alike to the backbone. A point shows its image, a click enlarges it; a box or a lasso chooses several (Shift adds).",
    h("div", { class: "card" },
      h("div", { class: "controls" }, menu("map:", maps.map((m) => `${data.features[m.features].name}, ${m.method}`), 0, (i) => { at = i; current = -1; layOut(); }),
        h("span", { role: "group", "aria-label": "Tools" }, tools),
        h("span", {}, h("label", { for: "search-map" }, "key: "), search, h("button", { type: "button", class: "button", onclick: () => words && choosePoints(Array.from(xs, (_, i) => i).filter(found)) }, "choose those found"))),
      legend, place, summary, panel));
}
