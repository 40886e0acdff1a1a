// Verify: a file is dropped, and what says that it was generated is listed.

import { call, create, follow } from "./api.js";
import { get, make } from "./dom.js";
import { dropPlace } from "./drop.js";
import { stageList } from "./job.js";

async function look(file) {
  const state = get("verify-state");
  try {
    state.replaceChildren("Uploading...");
    const job = await create({ kind: "verify", video: file });
    const done = await follow(job.id, (now) => state.replaceChildren(now.state === "waiting" ? "Waiting..." : stageList(now)));
    if (done.state !== "done") throw new Error(done.error || "It was cancelled.");
    const found = await call(done.report);
    const words = found.anything ? "Yes: this video says that it was generated." : "Nothing says that this video was generated.";
    const facts = found.summary.slice(1).map((line) => make("li", { textContent: line }));
    state.replaceChildren(make("p", {}, make("strong", { textContent: words })), make("ul", { className: "facts" }, ...facts));
    call(`/api/jobs/${job.id}`, "DELETE").catch(() => {});
  } catch (error) {
    state.replaceChildren(make("p", { className: "problem", textContent: error.message }));
  }
}

/** Puts the place for the file in place. */
export function verifyPlace() {
  dropPlace(get("verify-drop"), "Drop a video to verify, or choose one", "video/*", look);
}
