// Elements: makes and finds them. Texts are set as text, never as HTML.

/** Returns the element with an id. */
export const get = (id) => document.getElementById(id);

/** Makes an element with properties, which may hold `dataset`, `class` and attributes in `attrs`, and children. */
export function make(name, properties = {}, ...children) {
  const { attrs = {}, ...rest } = properties;
  const element = Object.assign(document.createElement(name), rest);
  for (const [key, value] of Object.entries(attrs)) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Makes an SVG element with attributes and children. */
export function draw(name, attrs = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attrs)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Shows what is wrong at the top of the page; nothing where there is no text. */
export function problem(text) {
  get("problem").textContent = text;
  get("problem").hidden = !text;
  if (text) get("problem").scrollIntoView({ block: "nearest" });
}

/** Returns seconds as 1:02.3. */
export function clock(seconds, digits = 1) {
  const all = Math.round(seconds * 10 ** digits);
  const minute = 60 * 10 ** digits;
  const rest = (all % minute) / 10 ** digits;
  return `${Math.floor(all / minute)}:${rest.toFixed(digits).padStart(digits ? 3 + digits : 2, "0")}`;
}

/** Returns a duration in words. */
export function about(seconds) {
  if (seconds < 1) return "less than a second";
  if (seconds < 90) return `about ${Math.round(seconds)} s`;
  return `about ${Math.round(seconds / 60)} min`;
}
