// Elements of the page. Text is set as text and never as markup: nothing of a table can become a part of the page.

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name.includes("-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((each) => each !== null && each !== undefined));
  return element;
}

export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server does not answer; is `pixlake serve` still running?");
  }
  if (response.status === 401) location.assign("/login");
  const type = response.headers.get("content-type") ?? "";
  const told = type.includes("json") ? await response.json() : null;
  if (!response.ok) throw new Error(told?.error ?? `the server answered ${response.status}`);
  return told;
}

export const post = (path, body, signal) =>
  ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });
