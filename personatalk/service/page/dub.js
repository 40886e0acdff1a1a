// The form of a new dub: video, face, speech, options, consent.

import { call, create, follow } from "./api.js";
import { clock, get, make, problem } from "./dom.js";
import { dropPlace } from "./drop.js";
import { stageList } from "./job.js";
import { optionForm } from "./options.js";
import { recorder } from "./recorder.js";

const CONSENT = "personatalk-consent";
const chosen = { video: null, speech: null, search: null };
let looking = null;

/** Uploads the video, and shows the people in it. */
async function findFaces(file) {
  looking?.abort();
  looking = new AbortController();
  const { signal } = looking;
  const state = get("faces-state");
  if (chosen.search) call(`/api/jobs/${chosen.search}`, "DELETE").catch(() => {});
  chosen.search = null;
  get("faces").hidden = false;
  get("faces-list").replaceChildren();
  state.replaceChildren("Uploading the video...");
  try {
    const job = await create({ kind: "faces", video: file }, (share) => {
      state.replaceChildren("Uploading the video ", make("progress", { max: 1, value: share }));
    }, signal);
    chosen.search = job.id;
    const done = await follow(job.id, (now) => state.replaceChildren(now.state === "waiting" ? "Waiting..." : stageList(now)), signal);
    if (done.state !== "done") throw new Error(done.error || "The search for faces was cancelled.");
    state.replaceChildren();
    showFaces(job.id, (await call(`/api/jobs/${job.id}/report`)).people);
  } catch (error) {
    if (error.name === "AbortError") return;
    state.replaceChildren(make("p", { className: "problem", textContent: error.message }));
  }
}

function showFaces(id, people) {
  const choice = (value, picture, words, checked) => make("label", {},
    make("input", { type: "radio", name: "face", value, checked }), picture, words);
  const any = make("span", { className: "any", textContent: "the largest face of each shot" });
  const faces = people.map((person) => {
    // In a still there is no time.
    const spans = person.seen.filter((span) => span.end > span.start).slice(0, 3);
    const seen = spans.map((span) => `${clock(span.start)}-${clock(span.end)}`).join(", ");
    const image = make("img", { src: `/api/jobs/${id}/people/${person.number}.jpg`, alt: `Person ${person.number}` });
    return choice(String(person.number), image, seen ? `Person ${person.number}: ${seen}` : `Person ${person.number}`, false);
  });
  get("faces-list").replaceChildren(choice("", any, "", true), ...faces);
}

/** Asks for the speaker's consent, once in this browser. */
function consent() {
  if (localStorage.getItem(CONSENT)) return Promise.resolve(true);
  const dialog = get("consent");
  get("consent-given").onchange = () => (get("consent-yes").disabled = !get("consent-given").checked);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => {
      const given = dialog.returnValue === "yes" && get("consent-given").checked;
      if (given) localStorage.setItem(CONSENT, new Date().toISOString());
      resolve(given);
    };
  });
}

async function submit(values, limit, onJob) {
  problem("");
  if (!chosen.video || !chosen.speech) return problem("Choose a video and a speech first.");
  if (chosen.video.size + chosen.speech.size > limit * 1e6) return problem(`The files are too large: at most ${limit} MB are taken here.`);
  if (!(await consent())) return problem("Nothing was dubbed: it takes the consent of the person who is shown and of the owner of the voice.");
  const face = document.querySelector("input[name=face]:checked")?.value;
  const video = chosen.search ? { video_of: chosen.search } : { video: chosen.video };
  const bar = get("upload");
  bar.hidden = false;
  get("start").disabled = true;
  get("upload-state").textContent = "Uploading...";
  try {
    const job = await create({ kind: "dub", consent: true, ...video, speech: chosen.speech, face, ...values() }, (share) => (bar.value = share));
    get("upload-state").textContent = "It is in the list of jobs below.";
    onJob(job);
  } catch (error) {
    get("upload-state").textContent = "";
    problem(error.message);
  } finally {
    bar.hidden = true;
    get("start").disabled = false;
  }
}

async function fetchSample(name, type) {
  const answer = await fetch(`/sample/${name}`);
  if (!answer.ok) throw new Error("The sample cannot be fetched.");
  return new File([await answer.blob()], name, { type });
}

/** Puts the form in place; `onJob` is told of a new job. */
export function dubForm(settings, onJob) {
  const values = optionForm(get("options-list"), settings.options, settings.personas);
  const setVideo = dropPlace(get("video-drop"), "Drop a video of a person speaking, or an image of one, or choose it", "video/*,image/*", (file) => {
    chosen.video = file;
    get("upload-state").textContent = "";
    if (file.size < settings.limits.upload_mb * 1e6) findFaces(file);
  });
  const setSpeech = dropPlace(get("speech-drop"), "Drop the new speech (audio, or a video with it), or choose it", "audio/*,video/*", (file) => {
    chosen.speech = file;
    get("upload-state").textContent = "";
    get("speech-player").src = URL.createObjectURL(file);
    get("speech-player").hidden = false;
  });
  recorder(get("record"), setSpeech);
  get("sample").onclick = async () => {
    try {
      setVideo(await fetchSample("face.mp4", "video/mp4"));
      setSpeech(await fetchSample("speech.flac", "audio/flac"));
    } catch (error) {
      problem(error.message);
    }
  };
  const marked = settings.marked
    ? "The result is marked: its tags, a signed C2PA manifest and an invisible watermark in the face say that it was generated."
    : "The result is not marked as generated: whoever runs this service turned that off.";
  get("marked").textContent = get("consent-marked").textContent = marked;
  get("form").onsubmit = (event) => {
    event.preventDefault();
    submit(values, settings.limits.upload_mb, onJob);
  };
}
