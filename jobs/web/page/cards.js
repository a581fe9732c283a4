// Images as cards: the picture, what it is called, how near it is, and what can be done with it.
import { make } from "/page/make.js";

// With what the image is: a table that was made anew counts its rows and versions from the start.
export const pictureOf = (row, version, size = "small") =>
  `/api/rows/${row.row}/picture?size=${size}&version=${version}${row.values.sha256 ? `&sha256=${row.values.sha256}` : ""}`;

export function nameOf(values) {
  const uri = String(values.uri ?? values.id ?? "");
  const member = uri.includes("#") && uri.split("#").pop();
  return (member || uri.split("?")[0]).split("/").filter(Boolean).pop() || uri || "(no name)";
}

const SAID_IN = ["caption", "text", "title", "label"];
export function saidOf(values) {
  const name = SAID_IN.find((each) => typeof values[each] === "string" && values[each]);
  return name ? values[name] : "";
}

export function placeBox(element, box, width, height) {
  const [x0, y0, x1, y1] = box;
  element.style.left = `${(100 * x0) / width}%`;
  element.style.top = `${(100 * y0) / height}%`;
  element.style.width = `${(100 * (x1 - x0)) / width}%`;
  element.style.height = `${(100 * (y1 - y0)) / height}%`;
}

export async function whyNoPicture(address) {
  try {
    const { error } = await (await fetch(address)).json();
    return error ? `no picture: ${error}` : "no picture";
  } catch {
    // The address gave no reason either.
    return "no picture";
  }
}

async function sayWhyNot(image, address) {
  const why = await whyNoPicture(address);
  image.replaceWith(make("span", { class: "no-picture" }, why));
}

export function picture(address, alt, { width = 0, height = 0 } = {}) {
  const image = make("img", { alt, loading: "lazy", decoding: "async", draggable: false });
  if (width && height) Object.assign(image, { width, height });
  image.addEventListener("error", () => sayWhyNot(image, address), { once: true });
  image.src = address;
  return image;
}

function frame(row, version) {
  const { width, height } = row.values;
  const shown = make("span", { class: "frame" });
  const known = Number(width) > 0 && Number(height) > 0;
  const image = picture(pictureOf(row, version), saidOf(row.values) || nameOf(row.values), known ? { width, height } : {});
  shown.append(image);
  // Neither lines nor needles: what is longer than 3 to 1 is cut.
  const fit = (wide, high) => {
    const ratio = Math.min(3, Math.max(1 / 3, wide / high));
    shown.style.aspectRatio = String(ratio);
    shown.parentElement?.parentElement?.style.setProperty("--ratio", String(ratio));
    return ratio;
  };
  const ratio = fit(known ? width : 1, known ? height : 1);
  if (!known) image.addEventListener("load", () => fit(image.naturalWidth, image.naturalHeight), { once: true });
  const box = row.region?.box;
  if (box && known && row.region.kind !== "whole") {
    const mark = make("span", { class: "mark" });
    placeBox(mark, [box.x0, box.y0, box.x1, box.y1], width, height);
    shown.append(mark);
  }
  return [shown, ratio];
}

// `on` has what the buttons do: open, similar, like, unlike.
export function card(row, version, on, { rank = null, badge = null } = {}) {
  const name = nameOf(row.values);
  const [shown, ratio] = frame(row, version);
  const open = make("button", { type: "button", class: "open", onclick: () => on.open(row) }, shown);
  open.setAttribute("aria-label", `Open ${name}${badge ? `, ${badge.told}` : ""}`);
  const score = row.score === null ? null : make("span", { class: "score", title: "score" }, row.score.toFixed(3));
  const told = make("div", { class: "caption" },
    rank ? make("span", { class: "rank" }, String(rank)) : null, score,
    make("span", { class: "name", title: String(row.values.uri ?? name) }, saidOf(row.values) || name),
    badge ? make("span", { class: `badge ${badge.kind}`, title: badge.told }, badge.text) : null);
  const act = (what, sign, does) => {
    const button = make("button", { type: "button", class: "small", title: `${what}: ${name}`, onclick: () => does(row) }, ...[sign].flat());
    button.setAttribute("aria-label", `${what}: ${name}`);
    return button;
  };
  const item = make("li", { class: badge ? `card ${badge.kind}` : "card" }, open, told,
    make("div", { class: "acts" }, act("Find similar", [make("span", { class: "wide" }, "similar"), make("span", { class: "narrow" }, "≈")], on.similar), act("Add as like", "+", on.like), act("Add as not like", "−", on.unlike)));
  item.style.setProperty("--ratio", String(ratio));
  return item;
}

export const gallery = (cards, label) => make("ol", { class: "gallery", "aria-label": label }, ...cards);
