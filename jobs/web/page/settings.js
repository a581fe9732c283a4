// Which column is searched, what re-ranks, and how an index is looked into.
import { make } from "/page/make.js";

export class Settings {
  constructor(fieldset, table, changed) {
    this.table = table;
    this.fieldset = fieldset;
    const option = (name) => make("option", { value: name }, this.#described(name));
    this.column = make("select", { onchange: () => { this.#fit(); changed(); } }, ...table.columns.map((each) => option(each.name)));
    this.column.value = table.default_column;
    this.rescore = make("select", { onchange: () => { this.#fit(); changed(); } });
    this.numbers = {};
    const number = (name, most) => (this.numbers[name] = make("input", { type: "number", min: "1", max: String(most), placeholder: "auto", onchange: changed }));
    this.exact = make("input", { type: "checkbox", onchange: () => { this.#fit(); changed(); } });
    this.lines = {
      rescore: make("label", { class: "wide" }, "Rescore by ", this.rescore),
      candidates: make("label", {}, "Candidates ", number("candidates", 20000)),
      nprobes: make("label", {}, "Partitions (nprobes) ", number("nprobes", 100000)),
      refine: make("label", {}, "Refine ", number("refine", 100)),
      exact: make("label", { class: "check" }, this.exact, " exact, without the index"),
    };
    this.note = make("p", { class: "aside wide" });
    fieldset.append(make("label", { class: "wide" }, "Column ", this.column), ...Object.values(this.lines), this.note);
    this.#fit();
  }

  get chosen() {
    return this.table.columns.find((each) => each.name === this.column.value);
  }

  asked() {
    const found = { column: this.column.value, exact: this.exact.checked };
    if (this.rescore.value) found.rescore = this.rescore.value;
    for (const [name, input] of Object.entries(this.numbers))
      if (!this.lines[name].hidden && input.value) found[name] = Number(input.value);
    return found;
  }

  #described(name) {
    const column = this.table.columns.find((each) => each.name === name);
    return `${name} (${column.derived ?? column.model}, ${column.dim})`;
  }

  #fit() {
    const { index, base, name } = this.chosen;
    const finer = this.table.columns.filter((each) => each.base === base && each.name !== name);
    const before = this.rescore.value;
    this.rescore.replaceChildren(make("option", { value: "" }, "nothing"), ...finer.map((each) => make("option", { value: each.name }, this.#described(each.name))));
    if (finer.some((each) => each.name === before)) this.rescore.value = before;
    this.lines.rescore.hidden = !finer.length;
    this.lines.candidates.hidden = !this.rescore.value;
    this.lines.nprobes.hidden = this.lines.refine.hidden = !index || this.exact.checked;
    this.lines.exact.hidden = !index;
    this.numbers.nprobes.placeholder = String(index?.nprobes ?? "auto");
    this.numbers.refine.placeholder = String(index?.refine ?? "auto");
    const recall = index?.recall ? `, recall ${index.recall.toFixed(3)}` : "";
    const left = index?.unindexed_rows ? `, ${index.unindexed_rows.toLocaleString("en")} rows not in it` : "";
    this.note.textContent = index ? `Index: ${index.type}${index.partitions ? `, ${index.partitions} partitions` : ""}${recall}${left}` : "No index: every row is compared.";
  }
}
