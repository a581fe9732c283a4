// What is asked: words, images and rows, each like or not like, with a weight.
import { make } from "/page/make.js";
import { picture } from "/page/cards.js";

const AWAY = 0.5;

export class Asked {
  constructor(list, changed) {
    this.list = list;
    this.changed = changed;
    this.examples = [];
  }

  // `like`: whether the images are to be like it; `shown`: the address of its picture.
  add({ by, value, label, shown = null, box = null }, like = true) {
    const same = this.examples.find((each) => each.by === by && each.value === value && String(each.box) === String(box));
    if (same) Object.assign(same, { like, weight: like ? 1 : AWAY });
    else this.examples.push({ by, value, label, shown, box, like, weight: like ? 1 : AWAY });
    this.show();
    this.changed();
  }

  only(example) {
    this.examples = [];
    this.add(example);
  }

  clear() {
    this.examples = [];
    this.show();
  }

  asked(words) {
    const found = this.examples.map(({ by, value, box, like, weight }) => ({ by, value, weight: like ? weight : -weight, ...(box ? { box } : {}) }));
    return words ? [{ by: "text", value: words, weight: 1 }, ...found] : found;
  }

  show() {
    this.list.replaceChildren(...this.examples.map((each) => this.#item(each)));
  }

  #item(example) {
    const { label } = example;
    const what = make("select", { onchange: (event) => this.#set(example, { like: event.target.value === "like" }) },
      make("option", { value: "like", selected: example.like }, "like"), make("option", { value: "unlike", selected: !example.like }, "not like"));
    what.setAttribute("aria-label", `Like or not like: ${label}`);
    const weight = make("input", { type: "number", min: "0.1", max: "10", step: "any", value: String(example.weight), onchange: (event) => {
      const given = Number(event.target.value);
      if (given > 0) this.#set(example, { weight: Math.min(given, 10) });
      else event.target.value = String(example.weight);
    } });
    weight.setAttribute("aria-label", `Weight of ${label}`);
    const gone = make("button", { type: "button", class: "small", onclick: () => {
      this.examples = this.examples.filter((each) => each !== example);
      this.show();
      this.changed();
    } }, "×");
    gone.setAttribute("aria-label", `Remove ${label}`);
    const text = example.box ? `part of ${label}` : label;
    const shown = example.shown ? make("span", { class: "thumb" }, picture(example.shown, "")) : null;
    return make("li", { class: example.like ? "example" : "example unlike" }, shown, what, make("span", { class: "name" }, text), weight, gone);
  }

  #set(example, values) {
    if ("like" in values && values.like !== example.like) values.weight = values.like ? 1 : AWAY;
    Object.assign(example, values);
    this.show();
    this.changed();
  }
}
