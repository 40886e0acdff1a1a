// Source and result side by side: one play button for both, and a loop over the mouth.

import { clock, make } from "./dom.js";

// Seconds by which the two may differ before the source is moved, and length of the loop.
const DRIFT = 0.08;
const LOOP = 2;
// Width of what the loop shows, in distances between the outer eye corners.
const MOUTH_WIDTH = 1.4;

/** Keeps an element to the shape of what it shows, so that the place of the mouth is the same share of both. */
const fit = (element, width, height) => (element.style.maxWidth = `calc(60vh * ${width / height})`);

/** Returns a video with its caption; `seen` is the element that shows it, an image where the video is a still. */
function figure(title, src) {
  const video = make("video", { src, preload: "auto", playsInline: true, attrs: { "aria-label": title } });
  const note = make("figcaption", { textContent: title });
  const frame = make("div", { className: "frame" }, video);
  const it = { video, seen: video, element: make("figure", {}, frame, note) };
  video.addEventListener("loadedmetadata", () => fit(video, video.videoWidth, video.videoHeight));
  video.onerror = () => {
    const image = make("img", { src, alt: title });
    image.onload = () => {
      fit(image, image.naturalWidth, image.naturalHeight);
      frame.replaceChildren(image);
      it.seen = image;
    };
    image.onerror = () => (note.textContent = `${title}: this browser cannot show this kind of file; download it`);
  };
  return it;
}

/** Zooms an element to the mouth where it is at a time; shows all of it where there are no curves. */
function zoom(element, curves, time) {
  element.style.transform = "";
  if (!curves) return;
  let place = curves.time.findLastIndex((t) => t <= time);
  while (place >= 0 && !curves.mouth[place]) place -= 1;
  if (place < 0) place = curves.mouth.findIndex((mouth) => mouth);
  if (place < 0) return;
  const [x, y] = curves.mouth[place];
  const factor = Math.max(1, 1 / (MOUTH_WIDTH * curves.eyes[place]));
  element.style.transformOrigin = "0 0";
  // What is seen does not leave the image.
  const start = (middle) => Math.min(Math.max(middle - 0.5 / factor, 0), 1 - 1 / factor);
  element.style.transform = `scale(${factor}) translate(${-start(x) * 100}%, ${-start(y) * 100}%)`;
}

/** Returns the player of a finished job: its element, and what moves it to a time. */
export function player(job, curves) {
  const source = figure("Source", `/api/jobs/${job.id}/video`);
  const result = figure("Dubbed", job.result);
  const both = [source.video, result.video];
  const button = make("button", { type: "button", className: "main", textContent: "Play both" });
  const slider = make("input", { type: "range", min: 0, max: 1, step: 0.01, value: 0, attrs: { "aria-label": "Time" } });
  const time = make("span", { className: "clock", textContent: "0:00.0" });
  const loop = make("input", { type: "checkbox" });
  const original = make("input", { type: "checkbox" });
  let from = 0;
  source.video.muted = true;

  const seek = (seconds) => {
    for (const video of both) video.currentTime = Math.min(seconds, video.duration || seconds);
    slider.value = seconds;
  };
  const play = () => both.forEach((video) => video.play().catch(() => {}));
  const pause = () => both.forEach((video) => video.pause());
  button.onclick = () => (result.video.paused ? play() : pause());
  result.video.onplay = () => ((button.textContent = "Pause both"), requestAnimationFrame(tick));
  result.video.onpause = () => (source.video.pause(), (button.textContent = "Play both"));
  result.video.onloadedmetadata = () => (slider.max = result.video.duration);
  slider.oninput = () => {
    from = Number(slider.value);
    seek(from);
  };
  original.onchange = () => {
    source.video.muted = !original.checked;
    result.video.muted = original.checked;
  };
  loop.onchange = () => {
    from = Math.max(0, Math.min(result.video.currentTime, result.video.duration - LOOP));
    for (const it of [source, result]) zoom(it.seen, loop.checked ? curves : null, from + LOOP / 2);
    if (loop.checked) play();
  };
  result.video.ontimeupdate = () => {
    slider.value = result.video.currentTime;
    time.textContent = clock(result.video.currentTime);
  };

  function tick() {
    const now = result.video.currentTime;
    if (loop.checked && (now >= from + LOOP || result.video.ended)) seek(from);
    else if (Math.abs(source.video.currentTime - now) > DRIFT && now < source.video.duration && !source.video.seeking) source.video.currentTime = now;
    if (loop.checked) for (const it of [source, result]) zoom(it.seen, curves, now);
    if (!result.video.paused) requestAnimationFrame(tick);
  }
  result.video.onended = () => loop.checked && (seek(from), play());

  const label = (input, words) => make("label", {}, input, ` ${words}`);
  const controls = make("div", { className: "controls" }, button, slider, time, label(loop, "Loop over the mouth"), label(original, "Hear the source"));
  const element = make("div", {}, make("div", { className: "pair" }, source.element, result.element), controls);
  return { element, seek: (seconds) => ((from = seconds), seek(seconds)) };
}
