// The other views: near-duplicates, clusters, and failures with their reasons.
import { ask, make } from "/page/make.js";
import { card, gallery } from "/page/cards.js";

const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

export function alikeCards(group, version, on) {
  return group.images.map((each) =>
    card({ ...each.row, score: null }, version, on, {
      badge: each.kept
        ? { kind: "kept", text: "kept", told: "the one that is kept" }
        : { kind: "alike", text: each.match === "exact" ? "same bytes" : (each.cosine ?? 0).toFixed(3), told: each.match === "exact" ? "the same bytes as the one that is kept" : "its cosine to the one that is kept" },
    }));
}

export async function showDuplicates(place, on, table) {
  const list = make("div", { class: "groups" });
  const more = make("button", { type: "button" }, "More groups");
  const title = make("h2", {}, "Near-duplicates");
  const old = make("p", { class: "wrong", hidden: true }, `They were found among vectors that this table has no more. To look anew: pixlake duplicates ${table.table}`);
  place.replaceChildren(title, make("p", { class: "aside" }, `Groups of ${table.regions ? "regions of different images" : "images"} that are nearly the same, the one that is kept first. To drop ${table.regions ? "images of which every region is one of the others" : "the others"}: pixlake duplicates ${table.table} --out drop.csv, then pixlake delete ${table.table} --ids drop.csv${table.regions ? " --whole-images" : ""}`), old, list, more);
  let after = -1;
  async function next() {
    const found = await ask(`/api/duplicates?limit=20&after=${after}`);
    old.hidden = found.current;
    title.textContent = `Near-duplicates: ${count(found.of, table.regions ? "region" : "image", table.regions ? "regions" : "images")} in groups`;
    for (const each of found.groups) {
      list.append(make("section", { class: "group" }, make("h3", {}, `Group ${each.group} · ${count(each.images.length, ...(table.regions ? ["region", "regions"] : ["image", "images"]))}`),
        gallery(alikeCards(each, found.version, on), `Group ${each.group}`)));
      after = Math.max(after, each.group);
    }
    if (!list.childElementCount) list.append(make("p", { class: "empty" }, "Nothing is nearly the same."));
    more.hidden = !found.more;
  }
  more.addEventListener("click", next);
  await next();
}

export async function showClusters(place, on) {
  place.replaceChildren(make("p", { class: "aside", role: "status" }, "reading the clusters …"));
  const found = await ask("/api/clusters");
  const sections = found.clusters.map((each) =>
    make("section", { class: "group", id: `cluster-${each.number}` },
      make("div", { class: "group-head" },
        make("h3", {}, `Cluster ${each.number}`),
        make("span", { class: "aside" }, `${count(each.rows, "row", "rows")}${each.cosine === null ? "" : ` · mean cosine to its centre ${each.cosine.toFixed(3)}`}`),
        make("button", { type: "button", class: "small", onclick: () => on.where(`${found.column} = ${each.number}`) }, "show its images")),
      gallery(each.examples.map((row) => card(row, found.version, on)), `Nearest the centre of cluster ${each.number}`)));
  place.replaceChildren(
    make("h2", {}, count(found.of, "cluster", "clusters")),
    make("p", { class: "aside" }, `The images nearest each centre${found.unassigned ? `; ${count(found.unassigned, "row is", "rows are")} in none` : ""}.`),
    make("div", { class: "groups" }, ...sections));
}

export async function showFailures(place) {
  const chosen = new URLSearchParams(location.hash.split("?")[1] ?? "").get("class");
  const found = await ask(`/api/failures?limit=200${chosen ? `&error_class=${encodeURIComponent(chosen)}` : ""}`);
  const counts = Object.entries(found.by_class).map(([name, count]) =>
    make("li", {}, make("a", { href: `#failures?class=${name}` }, name), ` ${count.toLocaleString("en")}`));
  if (!found.of) {
    place.replaceChildren(make("h2", {}, "Failures"), make("p", { class: "empty" }, "Every image gave a vector."));
    return;
  }
  const rows = found.rows.map((row) =>
    make("tr", {}, make("td", {}, row.error_class), make("td", { class: "uri" }, row.uri ?? "(none)"), make("td", {}, `${row.stage}: ${row.error}`), make("td", {}, String(row.attempts ?? ""))));
  place.replaceChildren(
    make("h2", {}, `Failures: ${found.total.toLocaleString("en")}${chosen ? ` of class ${chosen}` : ""}`),
    make("ul", { class: "counts" }, ...counts, chosen ? make("li", {}, make("a", { href: "#failures" }, "all classes")) : null),
    make("div", { class: "values", tabIndex: 0, role: "region", "aria-label": "Failures and their reasons" },
      make("table", { class: "failures" },
        make("thead", {}, make("tr", {}, ...["class", "image", "reason", "attempts"].map((name) => make("th", { scope: "col" }, name)))),
        make("tbody", {}, ...rows))),
    found.total > found.rows.length ? make("p", { class: "aside" }, `${(found.total - found.rows.length).toLocaleString("en")} more: pixlake failures`) : "");
}
