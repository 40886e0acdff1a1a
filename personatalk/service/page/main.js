// The page: settings first, then the form, and the list of jobs, which is looked at while one of them runs.

import { call } from "./api.js";
import { get, make, problem } from "./dom.js";
import { dubForm } from "./dub.js";
import { JobCard } from "./job.js";
import { verifyPlace } from "./verify.js";

// Milliseconds between two looks at the jobs: while one runs, and else.
const OFTEN = 700;
const SELDOM = 5000;

const cards = new Map();
let timer = 0;

async function refresh() {
  clearTimeout(timer);
  let busy = false;
  try {
    const { jobs } = await call("/api/jobs");
    problem.lost && problem("");
    problem.lost = false;
    const dubs = jobs.filter((job) => job.kind === "dub");
    for (const [id, card] of cards) {
      if (!dubs.some((job) => job.id === id)) {
        card.element.remove();
        cards.delete(id);
      }
    }
    for (const job of dubs.toReversed()) {
      if (cards.has(job.id)) cards.get(job.id).update(job);
      else {
        cards.set(job.id, new JobCard(job));
        get("job-list").prepend(cards.get(job.id).element);
      }
    }
    busy = dubs.some((job) => ["waiting", "running"].includes(job.state));
    get("no-jobs").hidden = cards.size > 0;
  } catch (error) {
    busy = true;
    problem.lost = true;
    problem("The service cannot be reached just now. Jobs go on when it is there again.");
  }
  timer = setTimeout(refresh, busy ? OFTEN : SELDOM);
}

async function start() {
  const settings = await call("/api/settings");
  get("version").textContent = settings.version;
  const personas = settings.personas.map((name) => make("li", { textContent: name }));
  get("persona-list").replaceChildren(...(personas.length ? personas : [make("li", { textContent: "none yet" })]));
  dubForm(settings, async (job) => {
    await refresh();
    cards.get(job.id)?.element.scrollIntoView({ block: "start" });
  });
  verifyPlace();
  refresh();
}

start().catch((error) => problem(error.message));
