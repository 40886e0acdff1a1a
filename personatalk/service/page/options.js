// The options of a dub, made from the declarations that the service sends.

import { make } from "./dom.js";

const words = (name) => name.replaceAll("_", " ");

function control(option, personas, id) {
  const attrs = { "aria-describedby": `${id}-help` };
  if (option.kind === "switch") return make("input", { type: "checkbox", id, name: option.name, checked: option.default, attrs });
  if (option.kind === "choice" || option.kind === "persona") {
    const choices = option.kind === "persona" ? personas : option.choices;
    const first = option.default === null ? [make("option", { value: "", textContent: option.otherwise || "none" })] : [];
    const list = choices.map((choice) => make("option", { value: choice, textContent: choice, selected: choice === option.default }));
    return make("select", { id, name: option.name, attrs }, ...first, ...list);
  }
  const limits = {};
  if (option.least !== null) limits.min = option.least;
  if (option.most !== null) limits.max = option.most;
  const type = option.kind === "number" ? "number" : "text";
  if (type === "number") limits.step = option.whole ? 1 : "any";
  const input = make("input", { type, id, name: option.name, value: option.default ?? "", attrs: { ...attrs, ...limits } });
  input.placeholder = option.otherwise;
  return input;
}

/** Fills an element with the options, by group; returns what tells the values that differ from the defaults. */
export function optionForm(place, options, personas) {
  const groups = new Map();
  const controls = [];
  // Whose face is chosen by its image.
  for (const option of options.filter((option) => option.name !== "face")) {
    if (option.kind === "persona" && !personas.length) continue;
    const id = `option-${option.name}`;
    const input = control(option, personas, id);
    controls.push([option, input]);
    const label = make("label", { htmlFor: id, textContent: words(option.name) });
    const help = make("p", { className: "hint", id: `${id}-help`, textContent: option.help });
    const box = make("div", { className: "option" }, ...(option.kind === "switch" ? [input, " ", label] : [label, input]), help);
    if (!groups.has(option.group)) groups.set(option.group, []);
    groups.get(option.group).push(box);
  }
  place.replaceChildren(
    ...[...groups].map(([name, boxes]) => make("fieldset", {}, make("legend", { textContent: name }), ...boxes)),
  );
  return () => {
    const values = {};
    for (const [option, input] of controls) {
      const value = option.kind === "switch" ? input.checked : input.value;
      if (value !== "" && String(value) !== String(option.default)) values[option.name] = value;
    }
    return values;
  };
}
