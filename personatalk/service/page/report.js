// The report of a dub as images: which frames are new, how far the mouth opens, how loud the speech is.

import { clock, draw, make } from "./dom.js";

// Size of a plot in its own units, loudness in dB at its bottom, and parts into which times divide it.
const WIDTH = 640;
const HEIGHT = 120;
const QUIET = -70;
const PARTS = 4;

/** Returns the polylines of a curve, interrupted where it has no value. */
function lines(times, values, name, across, up) {
  const parts = [[]];
  values.forEach((value, i) => (value === null ? parts.push([]) : parts.at(-1).push(`${across(times[i])},${up(value)}`)));
  return parts.filter((part) => part.length > 1).map((part) => draw("polyline", { class: name, points: part.join(" ") }));
}

function openings(curves, seconds) {
  const across = (time) => ((time / seconds) * WIDTH).toFixed(1);
  const most = Math.max(0.1, ...curves.source, ...curves.dubbed);
  const up = (value) => (HEIGHT - 4 - (value / most) * (HEIGHT - 12)).toFixed(1);
  const wave = curves.loudness.map((db, i) => `${across(curves.time[i])},${(HEIGHT * (1 - Math.max(0, 1 - db / QUIET) * 0.9)).toFixed(1)}`);
  const plot = draw("svg", { class: "plot curves", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
    "aria-label": "How far the mouth opens over time, in the source and in the dub, and how loud the speech is" });
  plot.append(draw("polygon", { class: "wave", points: [`0,${HEIGHT}`, ...wave, `${WIDTH},${HEIGHT}`].join(" ") }));
  plot.append(...lines(curves.time, curves.source, "source", across, up), ...lines(curves.time, curves.dubbed, "dubbed", across, up));
  return plot;
}

function strip(report, seconds) {
  const plot = draw("svg", { class: "plot", viewBox: `0 0 ${WIDTH} 16`, preserveAspectRatio: "none", role: "img", "aria-label": "Dubbed and passed-through frames over time" });
  const band = (start, end, name, title) => {
    const width = Math.max(1.5, ((end - start) / seconds) * WIDTH);
    plot.append(draw("rect", { class: name, x: (start / seconds) * WIDTH, y: 0, width, height: 16 }, draw("title", {}, title)));
  };
  // Stretches that passed through are told up to the start of their last frame: what is not dubbed is the ground.
  if (report.passed_through.length) band(0, seconds, "no", "");
  for (const span of report.passed_through) band(span.start_seconds, span.end_seconds, "no", `${span.reason}, ${clock(span.start_seconds)}`);
  for (const [start, end] of report.generated) band(start, end, "yes", `dubbed, ${clock(start)} to ${clock(end)}`);
  return plot;
}

function times(seconds) {
  const words = Array.from({ length: PARTS + 1 }, (_, i) => make("span", { textContent: clock((seconds * i) / PARTS) }));
  return make("div", { className: "times", attrs: { "aria-hidden": "true" } }, ...words);
}

const key = (name, words) => make("span", {}, make("b", { className: name }), words);

/** Returns the report of a job as an element; `seek` is told the time of a frame that is clicked. */
export function reportView(job, report, curves, seek) {
  const seconds = Math.max(report.video_seconds, 0.04);
  const view = make("details", { open: true }, make("summary", { textContent: "Report" }));
  const passed = report.frames - report.dubbed;
  view.append(make("p", { textContent: `${report.dubbed} of ${report.frames} frames have a new mouth; ${passed} passed through unchanged. ${report.frames_per_second.toFixed(1)} frames a second.` }));
  view.append(strip(report, seconds), times(seconds), openings(curves, seconds));
  view.append(make("div", { className: "key" }, key("k-dubbed", "new mouth"), key("k-source", "source's mouth"), key("k-wave", "loudness of the speech"), key("k-no", "passed through")));
  if (report.passed_through.length) {
    view.append(make("h3", { textContent: "Passed through" }));
    const items = report.passed_through.slice(0, 24).map((span, number) => {
      const when = `${clock(span.start_seconds)} to ${clock(span.end_seconds)}`;
      const image = make("img", { src: `/api/jobs/${job.id}/passed/${number}.jpg`, alt: "", loading: "lazy" });
      const button = make("button", { type: "button", onclick: () => seek(span.start_seconds) }, image, make("b", { textContent: when }), make("br"), span.reason);
      return make("li", {}, button);
    });
    view.append(make("ul", { className: "passed" }, ...items));
  }
  if (report.warnings.length) view.append(make("ul", { className: "facts" }, ...report.warnings.map((text) => make("li", { textContent: text }))));
  view.append(make("p", {}, make("a", { href: job.report, textContent: "All of it as JSON" })));
  return view;
}
