import { ask, make } from "/page/make.js";

const named = (schema) => schema?.$ref?.split("/").pop();

function kind(schema) {
  if (!schema) return "";
  if (schema.$ref) return named(schema);
  if (schema.anyOf) return schema.anyOf.map(kind).join(" or ");
  if (schema.type === "array") return schema.prefixItems ? `[${schema.prefixItems.map(kind).join(", ")}]` : `list of ${kind(schema.items)}`;
  return schema.enum ? schema.enum.join(" | ") : (schema.const ?? schema.format ?? schema.type ?? "any");
}

function bounds(schema) {
  const own = schema.anyOf?.find((each) => each.type !== "null") ?? schema;
  const found = [];
  if (schema.default !== undefined && schema.default !== null) found.push(`default ${JSON.stringify(schema.default)}`);
  if (own.minimum !== undefined) found.push(`at least ${own.minimum}`);
  if (own.maximum !== undefined) found.push(`at most ${own.maximum}`);
  return found.join(", ");
}

function fields(rows, caption) {
  const body = rows.map(([name, schema, needed]) =>
    make("tr", {}, make("th", { scope: "row" }, make("code", {}, name), needed ? " *" : ""), make("td", {}, kind(schema)), make("td", {}, bounds(schema))));
  return make("div", { class: "values", tabIndex: 0, role: "region", "aria-label": caption },
    make("table", {}, make("caption", {}, caption), make("tbody", {}, ...body)));
}

function operation(path, method, about) {
  const parts = [make("h3", {}, make("span", { class: `verb ${method}` }, method.toUpperCase()), " ", make("code", {}, path)), make("p", {}, about.description ?? about.summary ?? "")];
  if (about.parameters?.length)
    parts.push(fields(about.parameters.map((each) => [each.name, each.schema, each.required]), "Parameters"));
  const sent = Object.entries(about.requestBody?.content ?? {})[0];
  if (sent) parts.push(make("p", {}, "Sent: ", make("code", {}, sent[0]), " ", kind(sent[1].schema)));
  const got = Object.entries(about.responses ?? {}).map(([code, each]) => `${code}: ${kind(Object.values(each.content ?? {})[0]?.schema) || each.description}`);
  parts.push(make("p", { class: "aside" }, got.join(" · ")));
  return make("section", { class: "operation" }, ...parts);
}

const place = document.querySelector("#api");
try {
  const described = await ask("/api/openapi.json");
  document.querySelector("#about").textContent = described.info.description;
  place.append(make("h2", {}, "Requests"));
  for (const [path, methods] of Object.entries(described.paths))
    for (const [method, about] of Object.entries(methods)) place.append(operation(path, method, about));
  place.append(make("h2", {}, "What is sent and answered"));
  for (const [name, schema] of Object.entries(described.components.schemas)) {
    const rows = Object.entries(schema.properties ?? {}).map(([field, each]) => [field, each, schema.required?.includes(field)]);
    place.append(make("section", { class: "operation" }, make("h3", {}, name), make("p", {}, schema.description ?? ""), rows.length ? fields(rows, `Fields of ${name}`) : make("p", {}, kind(schema))));
  }
} catch (error) {
  place.append(make("p", { class: "wrong", role: "alert" }, error.message));
}
