import { ask, make, post } from "/page/make.js";
import { gallery, nameOf, pictureOf } from "/page/cards.js";
import { Asked } from "/page/query.js";
import { RecordDialog } from "/page/record.js";
import { showOne, showRows, showTwo, summary } from "/page/results.js";
import { Settings } from "/page/settings.js";
import { alikeCards, showClusters, showDuplicates, showFailures } from "/page/views.js";

const $ = (name) => document.querySelector(`#${name}`);
const VIEWS = ["search", "clusters", "duplicates", "failures"];
let table, settings, other, asked, record;
let version = 0;
let latest = null;

function say(text) {
  $("status").textContent = text;
}

function wrong(text) {
  $("wrong").hidden = !text;
  $("wrong").textContent = text ?? "";
}

async function search() {
  latest?.abort();
  const mine = (latest = new AbortController());
  const examples = asked.asked($("words").value.trim());
  $("clear").hidden = !examples.length;
  wrong("");
  try {
    if (!examples.some((each) => each.weight > 0)) {
      await look(mine);
      return;
    }
    say("searching …");
    $("results").setAttribute("aria-busy", "true");
    const common = { examples, k: Number($("k").value) || 24, group: $("group").checked, ...($("where").value.trim() ? { where: $("where").value.trim() } : {}) };
    const both = $("compare").checked ? [settings, other] : [settings];
    const found = await Promise.all(both.map((each) => post("/api/search", { ...common, ...each.asked() }, mine.signal)));
    version = found[0].version;
    if (found.length === 2) showTwo($("results"), ...found, on);
    else showOne($("results"), found[0], on);
    say(found.length === 2 ? "two settings side by side" : summary(found[0]));
  } catch (error) {
    if (error.name === "AbortError") return;
    say("");
    wrong(error.message);
  } finally {
    if (latest === mine) $("results").removeAttribute("aria-busy");
  }
}

async function look(mine) {
  const where = $("where").value.trim();
  const found = await ask(`/api/rows?limit=48${where ? `&where=${encodeURIComponent(where)}` : ""}`, { signal: mine.signal });
  version = found.version;
  showRows($("results"), found, on, where ? "Rows that match" : "A look at the table");
  say("");
}

const example = (row, box = null) => ({ by: "id", value: String(row.values.region_id && !box ? row.values.region_id : row.values.id), label: nameOf(row.values), shown: pictureOf(row, version), box });
const toSearch = () => {
  if (location.hash !== "#search") location.hash = "#search";
  scrollTo({ top: 0 });
};
const on = {
  open: (row) => record.open(row, version, settings.column.value),
  similar: (row) => { $("words").value = ""; toSearch(); asked.only(example(row)); },
  like: (row) => { toSearch(); asked.add(example(row)); },
  unlike: (row) => { toSearch(); asked.add(example(row), false); },
  part: (of, box) => { $("words").value = ""; toSearch(); asked.only(of.values ? example(of, box) : { ...of, box }); },
  where: (condition) => { $("words").value = ""; asked.clear(); $("where").value = condition; $("more").open = true; toSearch(); search(); },
  others,
};

// What else is known of an image: its cluster, and what is nearly the same.
async function others(row) {
  const found = [];
  const cluster = table.clusters ? row.values[table.clusters] : null;
  if (cluster !== null && cluster !== undefined)
    found.push(make("p", {}, make("button", { type: "button", class: "small", onclick: () => { record.close(); on.where(`${table.clusters} = ${cluster}`); } }, `Cluster ${cluster}: show its images`)));
  const group = table.duplicates ? await ask(`/api/duplicates/of?id=${encodeURIComponent(row.values.region_id ?? row.values.id)}`) : null;
  if (group) found.push(make("h3", {}, "Nearly the same"), make("div", { class: "strip" }, gallery(alikeCards(group, version, on), "Nearly the same")));
  return found;
}

async function sendImage(file) {
  if (!file) return;
  wrong("");
  say(`sending ${file.name || "the image"} …`);
  try {
    const { image } = await ask("/api/images", { method: "POST", body: file });
    $("words").value = "";
    asked.only({ by: "image", value: image, label: file.name || "pasted image", shown: `/api/images/${image}/picture` });
  } catch (error) {
    say("");
    wrong(`${file.name || "the image"}: ${error.message}`);
  }
}

function takeImages() {
  $("file").addEventListener("change", (event) => {
    sendImage(event.target.files[0]);
    event.target.value = "";
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    sendImage(file);
  });
  let within = 0;
  const bringsFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const over = (count) => {
    within = Math.max(0, count);
    $("drop").hidden = within === 0;
  };
  addEventListener("dragenter", (event) => bringsFile(event) && (event.preventDefault(), over(within + 1)));
  addEventListener("dragover", (event) => bringsFile(event) && event.preventDefault());
  addEventListener("dragleave", (event) => bringsFile(event) && over(within - 1));
  addEventListener("drop", (event) => {
    if (!bringsFile(event)) return;
    event.preventDefault();
    over(0);
    sendImage(event.dataTransfer.files[0]);
  });
}

async function showView() {
  const named = location.hash.slice(1).split("?")[0];
  const view = VIEWS.includes(named) ? named : "search";
  for (const each of VIEWS) $(`view-${each}`).hidden = each !== view;
  for (const link of document.querySelectorAll("nav a[data-view]")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const place = $(`view-${view}`);
  try {
    if (view === "clusters") await showClusters(place, on);
    if (view === "duplicates") await showDuplicates(place, on, table);
    if (view === "failures") await showFailures(place);
  } catch (error) {
    place.replaceChildren(make("p", { class: "wrong", role: "alert" }, error.message));
  }
}

function describe() {
  const models = [...new Set(table.columns.map((each) => each.model))].join(", ");
  $("about").replaceChildren(make("strong", {}, table.table), ` · ${table.rows.toLocaleString("en")} ${table.regions ? "rows" : "images"} · ${models}`);
  document.title = `${table.table.split("/").pop()} · Pixlake`;
  document.querySelector('[data-view="failures"]').textContent = `Failures${table.failures ? ` (${table.failures.toLocaleString("en")})` : ""}`;
  document.querySelector('[data-view="clusters"]').hidden = !table.clusters;
  document.querySelector('[data-view="duplicates"]').hidden = !table.duplicates;
  $("value-columns").replaceChildren(...Object.entries(table.values).map(([name, type]) => make("option", { value: name, label: type })));
  $("group-line").hidden = !table.regions;
  $("group").checked = table.regions;
  const words = table.columns.some((each) => each.words);
  $("words").disabled = !words;
  if (!words) $("words").placeholder = "search by an image (this model has no words)";
}

async function begin() {
  table = await ask("/api/table");
  describe();
  settings = new Settings($("settings-a"), table, search);
  other = new Settings($("settings-b"), table, search);
  asked = new Asked($("examples"), search);
  record = new RecordDialog(on);
  $("ask").addEventListener("submit", (event) => { event.preventDefault(); search(); });
  $("clear").addEventListener("click", () => { $("words").value = ""; asked.clear(); search(); $("words").focus(); });
  $("compare").addEventListener("change", () => { $("settings-b").hidden = !$("compare").checked; search(); });
  for (const name of ["where", "k", "group"]) $(name).addEventListener("change", search);
  $("examples").addEventListener("click", (event) => {
    const thumb = event.target.closest(".thumb");
    if (!thumb) return;
    const chosen = asked.examples[[...$("examples").children].indexOf(thumb.closest("li"))];
    if (chosen?.by === "image") record.openSent(chosen);
  });
  takeImages();
  addEventListener("hashchange", showView);
  await Promise.all([showView(), search()]);
}

begin().catch((error) => {
  say("");
  wrong(error.message);
});
