// The other views: failures with their reasons.
import { ask, make } from "/page/make.js";

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
