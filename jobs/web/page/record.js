// One image: large, with all that its row says, its neighbours, and a box to draw on it.
import { make, post } from "/page/make.js";
import { card, gallery, nameOf, pictureOf, placeBox, saidOf, whyNoPicture } from "/page/cards.js";

const $ = (name) => document.querySelector(`#${name}`);
const LEAST = 0.01;

export class RecordDialog {
  // `on`: similar, like, unlike (of a row), part (of a row or an image that was sent, with a box).
  constructor(on) {
    this.on = on;
    this.dialog = $("record");
    this.image = $("record-picture");
    this.mark = $("box");
    this.edges = [...document.querySelectorAll("[data-edge]")];
    const close = () => this.dialog.close();
    $("record-close").addEventListener("click", close);
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && close());
    for (const [id, does] of [["record-similar", "similar"], ["record-like", "like"], ["record-unlike", "unlike"]])
      $(id).addEventListener("click", () => { close(); this.on[does](this.row); });
    $("box-search").addEventListener("click", () => this.#part());
    for (const each of this.edges) each.addEventListener("input", () => this.#fromFields());
    this.image.addEventListener("error", () => this.#noPicture());
    this.#drawing();
  }

  async open(row, version, column) {
    this.row = row;
    this.sent = null;
    this.#show(nameOf(row.values), pictureOf(row, version, "large"), saidOf(row.values) || nameOf(row.values));
    $("record-actions").hidden = false;
    this.#values(row.values);
    const near = $("record-near");
    near.replaceChildren(make("p", { class: "aside" }, "searching …"));
    $("record-others").replaceChildren(...(await this.on.others(row).catch(() => [])));
    try {
      const id = String(row.values.region_id ?? row.values.id);
      const found = await post("/api/search", { examples: [{ by: "id", value: id }], k: 9, column });
      const others = found.results.filter((each) => each.row !== row.row).slice(0, 8);
      const on = { ...this.on, open: (each) => this.open(each, found.version, column) };
      for (const does of ["similar", "like", "unlike"]) on[does] = (each) => { this.dialog.close(); this.on[does](each); };
      near.replaceChildren(gallery(others.map((each) => card(each, found.version, on)), "Nearest images"));
    } catch (error) {
      near.replaceChildren(make("p", { class: "wrong" }, error.message));
    }
  }

  close() {
    this.dialog.close();
  }

  openSent(example) {
    this.row = null;
    this.sent = example;
    this.#show(example.label, `/api/images/${example.value}/picture?size=large`, example.label);
    $("record-actions").hidden = true;
    this.#values({});
    $("record-others").replaceChildren();
    $("record-near").replaceChildren();
  }

  #show(title, address, alt) {
    $("record-title").textContent = title;
    $("stage").hidden = $("box-fields").hidden = false;
    $("record-no-picture").hidden = true;
    const { width = 0, height = 0 } = this.row?.values ?? {};
    // The room that it will take, before it is there.
    const shrunk = Math.min(1, 1280 / Math.max(width, height, 1));
    for (const [side, length] of [["width", width], ["height", height]]) {
      if (length > 0) this.image.setAttribute(side, String(Math.round(length * shrunk)));
      else this.image.removeAttribute(side);
    }
    Object.assign(this.image, { alt, src: address });
    this.mark.hidden = true;
    this.box = null;
    document.querySelector(".told").hidden = this.row === null;
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.querySelector(".record-body").scrollTop = 0;
  }

  async #noPicture() {
    $("stage").hidden = $("box-fields").hidden = true;
    const place = $("record-no-picture");
    place.hidden = false;
    place.textContent = "no picture";
    place.textContent = await whyNoPicture(this.image.src);
  }

  #values(values) {
    const shown = Object.entries(values).filter(([, value]) => value !== null);
    $("record-values").replaceChildren(...shown.map(([name, value]) =>
      make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, typeof value === "object" ? JSON.stringify(value) : String(value)))));
  }

  #part() {
    if (!this.box) this.#fromFields();
    const [x0, y0, x1, y1] = this.box;
    if (x1 - x0 < LEAST || y1 - y0 < LEAST) return;
    this.dialog.close();
    this.on.part(this.row ?? this.sent, this.box.map((edge) => Math.round(edge * 1e4) / 1e4));
  }

  #fromFields() {
    const [x0, y0, x1, y1] = this.edges.map((each) => Math.min(100, Math.max(0, Number(each.value) || 0)) / 100);
    this.#setBox([Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)], false);
  }

  #setBox(box, told = true) {
    this.box = box;
    placeBox(this.mark, box, 1, 1);
    this.mark.hidden = false;
    if (told) this.edges.forEach((each, at) => (each.value = String(Math.round(box[at] * 1000) / 10)));
  }

  #drawing() {
    const stage = $("stage");
    let from = null;
    const at = (event) => {
      const { left, top, width, height } = this.image.getBoundingClientRect();
      return [Math.min(1, Math.max(0, (event.clientX - left) / width)), Math.min(1, Math.max(0, (event.clientY - top) / height))];
    };
    stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      stage.setPointerCapture(event.pointerId);
      from = at(event);
    });
    stage.addEventListener("pointermove", (event) => {
      if (!from) return;
      const to = at(event);
      this.#setBox([Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.max(from[0], to[0]), Math.max(from[1], to[1])]);
    });
    const end = () => (from = null);
    stage.addEventListener("pointerup", end);
    stage.addEventListener("pointercancel", end);
  }
}
