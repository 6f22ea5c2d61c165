// Recipes, method, and the order of the page.
function flat(value, prefix = "") {
  return Object.entries(value).flatMap(([name, v]) =>
    v !== null && typeof v === "object" && !Array.isArray(v) ? flat(v, prefix + name + ".") : [[prefix + name, v === null ? "–" : Array.isArray(v) ? v.join(", ") : String(v)]]);
}

function drawRecipes() {
  const files = data.features.filter((one, i) => data.features.findIndex((o) => o.file === one.file) === i);
  const fileOf = (one) => h("details", { class: "card" }, h("summary", {}, h("strong", {}, one.backbone), ` · ${one.file}`),
    h("table", { class: "recipe" }, h("tbody", {},
      [["file", one.file], ["made by", one.creator], ["dtype", one.dtype], ["identity sha256", one.identity_sha256], ["manifest sha256", one.manifest_sha256],
        ...flat(one.identity, "identity."), ...flat(one.execution, "execution."), ...flat(one.cost, "cost.")]
        .map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "key" }, value))))));
  section("recipes", ["Recipes", "Recipes"], "How every file was made, and the command that made this page.", h("pre", { tabindex: 0 }, data.command), files.map(fileOf));
}

function drawMethod() {
  const d = data.data, level = Math.round(100 * data.level);
  const nested = d.estimate !== "test split";
  const out = Object.entries(d.left_out).filter(([, n]) => n).map(([why, n]) => `${n} ${why}`).join(", ");
  const said = [
    nested
      ? `There is no test split, so every image is predicted by a head that was selected and fitted without its fold (${d.folds} outer folds), its strength chosen by cross-validation inside the rest.`
      : `Heads were selected by ${d.folds}-fold cross-validation on the ${whole(d.train)} training images and asked once about the ${whole(d.judged)} test images.`,
    `All features share the same images, splits and folds (seed ${d.seed}). ${out ? `Left out everywhere: ${out}.` : "No image was left out."}` + (d.validation ? ` ${whole(d.validation)} validation images were left alone.` : ""),
    `Intervals are ${level}%: Wilson's for shares of images${d.groups ? ", which count as many images as their groups are worth" : ""}, the same from the variance of the mean for means over classes, and ${whole(data.resamples)} bootstrap draws of the judged images for the log loss; the calibration error has none, because resampling only adds to it.`,
    `Each entry is tested against the best by a max-type sign-flip test: every draw turns the differences between entries round on a random half of the ${d.groups ? "groups" : "images"}, as if all were equally good, and picks its own best, so that having picked the best on these images is paid for. The level is ${Math.round(100 * data.alpha)}%: of equally good entries any is called behind in so many comparisons of 100. "Not distinguishable" does not mean equal: more images may tell.`,
    "The best of many on the same images looks a little better than it is. When it matters, confirm it on images that took no part here.",
    ...d.notes,
  ];
  section("method", ["How this was measured", "Method"], null, said.map((text) => h("p", {}, text)));
}

drawMarks();
drawFacts();
if (board.length) {
  drawVerdict();
  drawLeaderboard();
  drawPareto();
  drawLayers();
  drawCurves();
  drawClasses();
  drawConfusion();
}
drawImages();
drawMap();
drawDuplicates();
drawRecipes();
if (board.length) drawMethod();
document.getElementById("foot").append(
  `Made by bottleneck ${data.bottleneck} on ${data.created.replace("T", " ").slice(0, 16)} UTC in ${Math.round(data.seconds)} s. ` +
  (data.served ? "It is served by this machine, to this machine." : "This page is one file and asks nothing of any network."));
document.documentElement.dataset.ready = "yes";
