// A place to drop a file on, or to choose one with a click or the keyboard.

import { make } from "./dom.js";

/**
 * Fills an element with a place for a file.
 * @param place The element.
 * @param words What is wanted.
 * @param accept Media types that the dialog offers.
 * @param onFile Told of the file.
 * @returns A function that sets the file.
 */
export function dropPlace(place, words, accept, onFile) {
  const text = make("span", { textContent: words });
  const input = make("input", { type: "file", accept, attrs: { "aria-label": words } });
  const label = make("label", { className: "drop" }, text, input);
  const set = (file) => {
    const size = file.size < 1e6 ? `${Math.ceil(file.size / 1e3)} kB` : `${(file.size / 1e6).toFixed(1)} MB`;
    text.textContent = `${file.name} (${size})`;
    label.classList.add("chosen");
    onFile(file);
  };
  input.onchange = () => input.files.length && set(input.files[0]);
  label.ondragover = (event) => {
    event.preventDefault();
    label.classList.add("over");
  };
  label.ondragleave = () => label.classList.remove("over");
  label.ondrop = (event) => {
    event.preventDefault();
    label.classList.remove("over");
    if (event.dataTransfer.files.length) set(event.dataTransfer.files[0]);
  };
  place.replaceChildren(label);
  return set;
}
