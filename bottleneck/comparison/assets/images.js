// Which images are wrong: everything that was found, to filter, to enlarge, to mark.
const doubts = new Map(data.label_errors.rows.map((row) => [row.image, row]));
const inSets = new Map(), leaked = new Map();
for (const set of data.duplicates.sets) for (const i of set.images) if (!inSets.has(i)) inSets.set(i, set);
for (const one of data.duplicates.leaked) leaked.set(one.image, one);

function mistakesOf(entry) {
  if (!entry.byImage) entry.byImage = new Map(entry.mistakes.rows.map((row) => [row.image, row]));
  return entry.byImage;
}
const surety = (entry, row) => (entry.mistakes.by === "probability" ? percent(row.confidence, 0) : `ahead by ${number(row.confidence, 2)}`);
const aboutMistakes = (entry) => (i) => {
  const row = mistakesOf(entry).get(i);
  return [h("strong", {}, labelOf(i)), ` taken for ${className(row.predicted)}, `, h("span", { class: "soft" }, surety(entry, row))];
};
flagsOf.push(
  (i) => doubts.get(i)?.likely && h("span", { class: "tag warn" }, "likely label error"),
  (i) => (leaked.has(i) || inSets.get(i)?.leak) && h("span", { class: "tag warn" }, "leak"),
  (i) => inSets.has(i) && h("span", { class: "tag" }, inSets.get(i).exact ? "equal file" : "near duplicate"),
  (i) => inSets.get(i)?.conflict && h("span", { class: "tag warn" }, "labels differ"));

// Everything that is known of an image, in one line.
function aboutImage(i) {
  const doubt = doubts.get(i), wrong = board.length && mistakesOf(board[chosen]).get(i);
  return [h("strong", {}, labelOf(i)), splitOf(i) && h("span", { class: "soft" }, ` ${splitOf(i)}`),
    doubt && [`, looks like `, h("strong", {}, className(doubt.suggested)), h("span", { class: "soft" }, ` (${percent(doubt.given_probability, 0)} against ${percent(doubt.suggested_probability, 0)})`)],
    wrong && [`, taken for ${className(wrong.predicted)}, `, h("span", { class: "soft" }, surety(board[chosen], wrong))],
    ...tagsOf(i).map((tag) => [" ", tag])];
}

function drawImages() {
  const everything = () => Array.from({ length: images.count }, (_, i) => i);
  const doubted = (likely) => () => data.label_errors.rows.filter((row) => row.likely === likely).map((row) => row.image);
  const known = (map, test) => () => [...map].filter(([, one]) => test(one)).map(([i]) => i);
  const judge = () => board[chosen];
  const flags = [
    { name: "likely label errors", rows: doubted(true), total: data.label_errors.likely },
    { name: "doubtful labels, less likely wrong", rows: doubted(false) },
    board.length && { name: "mistakes", says: () => `mistakes of ${entryName(judge())}`, rows: () => judge().mistakes.rows.map((row) => row.image), totalOf: () => judge().mistakes.total },
    { name: "leaks from training to test", rows: known(leaked, () => true), total: data.duplicates.leaked_rows },
    { name: "duplicates of other labels", rows: known(inSets, (set) => set.conflict) },
    { name: "duplicates", rows: known(inSets, () => true) },
    { name: "marked by you", rows: () => [...marks.keys()].sort((a, b) => a - b), always: true },
    { name: "all images", rows: everything, always: true },
  ].filter(Boolean).filter((flag) => flag.always || flag.totalOf || flag.rows().length);
  let flag = 0, label = -1, split = -1, words = "";
  const note = h("p", { class: "soft", role: "status" }), place = h("div", { id: "found-images" });
  const held = new Set(images.label), order = [...held].sort((a, b) => a - b);
  const splits = [...new Set(images.split)].sort();
  const show = () => {
    const one = flags[flag], all = one.rows();
    const rows = all.filter((i) => (label < 0 || images.label[i] === label) && (split < 0 || images.split[i] === split) &&
      (!words || rawKey(i).toLowerCase().includes(words)));
    const total = one.totalOf ? one.totalOf() : one.total ?? all.length;
    note.textContent = `${whole(rows.length)} of ${whole(total)}: ${one.says ? one.says() : one.name}` +
      (one.name === "mistakes" ? ` in ${whole(data.data.judged)} judged images, the surest first` + (judge().mistakes.by === "margin" ? " (by how far the wrong class is ahead; this head gives no probabilities)" : "") : "") +
      (total > all.length ? `; the ${whole(all.length)} ${one.name === "mistakes" ? "surest" : "most telling"} are on this page` : "") +
      (one.name === "all images" && images.of > images.count ? `; a sample of ${whole(images.of)}` : "") + ".";
    place.replaceChildren(rows.length ? gallery(rows, aboutImage, 24) : h("p", { class: "soft" }, "None."));
  };
  const search = h("input", { type: "search", id: "search-key", placeholder: "part of a key", oninput: () => { words = search.value.toLowerCase(); show(); } });
  const controls = h("div", { class: "controls", id: "image-filters" },
    menu("show:", flags.map((one) => `${one.name} (${whole(one.totalOf ? one.totalOf() : one.total ?? one.rows().length)})`), 0, (i) => { flag = i; show(); }),
    menu("class:", ["all", ...order.map(className)], 0, (i) => { label = i ? order[i - 1] : -1; show(); }),
    splits.length > 1 && menu("split:", ["all", ...splits.map((code) => SPLITS[code] || "none")], 0, (i) => { split = i ? splits[i - 1] : -1; show(); }),
    h("span", {}, h("label", { for: "search-key" }, "key: "), search));
  const options = () => [...controls.querySelector("select").options].forEach((option, i) => {
    const one = flags[i];
    option.textContent = `${one.name} (${whole(one.totalOf ? one.totalOf() : one.total ?? one.rows().length)})`;
  });
  listeners.push(() => { options(); if (flags[flag].totalOf) show(); });
  markListeners.push(() => { options(); if (flags[flag].name === "marked by you" && !viewer.open && !place.contains(document.activeElement)) show(); });
  show();
  const by = data.label_errors.by ? ` A label is a likely error when another class is at least as likely as it usually is for its own images, says a head that never saw the image (${data.label_errors.by}). Look before you believe it: rare and odd images come up too.` : "";
  section("images", ["Which images are wrong", "Images"],
    `A click on a picture enlarges it. Mark what you see, and download the corrections at the foot of the page: bottleneck relabel applies them, train --exclude leaves them out.${by}`,
    board.length > 0 && entryMenu(), controls, note, place);
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
    h("ul", {}, set.images.slice(0, 12).map((i) => h("li", {},
      h("button", { type: "button", class: "thumb", "aria-label": `Enlarge ${keyOf(i)}`, onclick: () => look(i, set.images) }, picture(i, 48)),
      h("div", {}, labelOf(i), splitOf(i) && ` (${splitOf(i)})`, keyLine(i), set.conflict && markButtons(i))))),
    set.size > 12 && h("p", { class: "soft" }, `and ${whole(set.size - 12)} more`));
  const most = Math.min(60, found.sets.length), rest = found.exact + found.near - most;
  section("duplicates", ["Duplicates and leaks", "Duplicates"], lead, found.sets.length > 0 && h("ul", { class: "sets" }, found.sets.slice(0, most).map(item)),
    rest > 0 && h("p", { class: "soft" }, `${whole(rest)} more sets are not shown here; the JSON lists ${whole(found.sets.length)} of them, leaks first.`));
}
