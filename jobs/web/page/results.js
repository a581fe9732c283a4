// Answers: one list of images, or two side by side with what differs.
import { make } from "/page/make.js";
import { card, gallery } from "/page/cards.js";

const seconds = (value) => (value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`);
const keyOf = (row) => String(row.values.region_id ?? row.values.id ?? row.row);

export const summary = (found) =>
  `${found.results.length} images in ${seconds(found.seconds)}, ${found.column}${found.rescored_by ? ` rescored by ${found.rescored_by}` : ""}, ${found.index ? found.index_said ?? "by its index" : "every row compared"}`;

function badges(own, other) {
  const places = new Map(other.results.map((row, at) => [keyOf(row), at]));
  return own.results.map((row, at) => {
    const there = places.get(keyOf(row));
    if (there === undefined) return { kind: "lone", text: "only here", told: "not among the other results" };
    if (there === at) return null;
    const by = Math.abs(there - at);
    return at < there
      ? { kind: "moved", text: `▲${by}`, told: `${by} places higher than there` }
      : { kind: "moved", text: `▼${by}`, told: `${by} places lower than there` };
  });
}

export function showOne(place, found, on) {
  if (!found.results.length) {
    place.replaceChildren(make("p", { class: "empty" }, "No rows match."));
    return;
  }
  place.replaceChildren(gallery(found.results.map((row) => card(row, found.version, on)), "Images, the nearest first"));
}

export function showTwo(place, first, second, on) {
  const column = (found, marks, title) =>
    make("section", { class: "side" }, make("h2", {}, title), make("p", { class: "aside" }, summary(found)),
      gallery(found.results.map((row, at) => card(row, found.version, on, { rank: at + 1, badge: marks[at] })), `${title}: images, the nearest first`));
  const shared = first.results.filter((row) => second.results.some((other) => keyOf(other) === keyOf(row))).length;
  place.replaceChildren(
    make("p", { class: "differs" }, `${shared} of ${Math.max(first.results.length, second.results.length)} images are in both`),
    make("div", { class: "sides" }, column(first, badges(first, second), "Settings"), column(second, badges(second, first), "Settings B")));
}

export function showRows(place, found, on, title) {
  place.replaceChildren(
    ...(found.rows.length
      ? [make("h2", { class: "look" }, title), gallery(found.rows.map((row) => card(row, found.version, on)), title)]
      : [make("p", { class: "empty" }, "The table has no rows.")]));
}
