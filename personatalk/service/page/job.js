// A job of the list: progress while it runs, player and report when it is done.

import { call } from "./api.js";
import { about, make, problem } from "./dom.js";
import { player } from "./player.js";
import { reportView } from "./report.js";

const STAGES = {
  start: "Getting ready",
  shots: "Finding the shots",
  people: "Finding the people",
  faces: "Following the face",
  geometry: "Measuring the face",
  dubbing: "Drawing the new mouth",
  report: "Drawing the report",
  watermark: "Looking for the watermark",
};
const STATES = { waiting: "waiting", running: "running", done: "done", failed: "failed", cancelled: "cancelled" };

/** Returns the stages of a job as a list, with what is left of the last one. */
export function stageList(job) {
  const items = job.stages.map((stage, i) => {
    const now = i === job.stages.length - 1 && job.state === "running";
    const share = stage.total ? Math.min(1, stage.done / stage.total) : now ? null : 1;
    const bar = make("progress", { max: 1, attrs: { "aria-label": STAGES[stage.name] ?? stage.name } });
    if (share !== null) bar.value = now ? share : 1;
    const frames = stage.total ? `${Math.min(stage.done, stage.total)} of ${stage.total}` : "";
    const left = now ? (stage.left === null ? frames : `${frames}, ${about(stage.left)} left`) : `${stage.seconds.toFixed(1)} s`;
    return make("li", {}, make("span", { textContent: STAGES[stage.name] ?? stage.name }),
      make("span", {}, bar, " ", make("span", { className: "left", textContent: left })));
  });
  return make("ul", { className: "stages" }, ...items);
}

/** A card of the list. */
export class JobCard {
  constructor(job) {
    this.element = make("article", { className: "job" });
    this.element.dataset.id = job.id;
    this.state = make("span", { className: "state", attrs: { role: "status" } });
    this.body = make("div");
    this.live = make("p", { className: "hint", attrs: { "aria-live": "polite" } });
    this.actions = make("div", { className: "actions" });
    const title = make("h3", {}, `${job.video} + ${job.speech} `, this.state);
    this.element.append(title, this.live, this.body, this.actions);
    this.shown = "";
    this.update(job);
  }

  /** Shows another state of the job. */
  update(job) {
    const text = JSON.stringify(job);
    if (text === this.shown) return;
    this.shown = text;
    if (job.state !== this.last) this.#enter(job);
    this.last = job.state;
    if (job.state === "running") this.body.replaceChildren(stageList(job));
    if (job.state === "waiting") this.live.textContent = job.ahead ? `${job.ahead} before it` : "It is next.";
  }

  /** Shows a state that the job has got into. */
  #enter(job) {
    this.state.textContent = STATES[job.state];
    this.state.className = `state ${job.state}`;
    this.live.textContent = "";
    this.body.replaceChildren();
    const over = !["waiting", "running"].includes(job.state);
    const act = (words, path, method) => make("button", { type: "button", textContent: words, onclick: (event) => {
      event.target.disabled = true;
      call(path, method).then(() => method === "DELETE" && this.element.remove(), (error) => problem(error.message));
    } });
    const path = `/api/jobs/${job.id}`;
    const buttons = over ? [act("Delete", path, "DELETE")] : [act("Cancel", `${path}/cancel`, "POST")];
    if (job.state === "done") {
      buttons.unshift(make("a", { className: "button main", href: `${job.result}?download=true`, textContent: "Download", attrs: { download: "" } }));
      this.#result(job).catch((error) => problem(error.message));
    }
    if (job.state === "failed") this.body.append(make("p", { className: "problem", textContent: job.error }));
    if (job.state === "cancelled") this.live.textContent = "Cancelled: nothing was written.";
    this.actions.replaceChildren(...buttons);
  }

  async #result(job) {
    const [report, curves] = await Promise.all([call(job.report), call(`/api/jobs/${job.id}/curves`)]);
    const { element, seek } = player(job, curves);
    const marked = report.provenance.on
      ? "This video says that it was generated: in its tags, in a signed manifest where its container holds one, and in an invisible watermark."
      : "This video does not say that it was generated: whoever runs this service turned that off.";
    this.body.replaceChildren(element, make("p", { className: "hint", textContent: marked }), reportView(job, report, curves, seek));
  }
}
