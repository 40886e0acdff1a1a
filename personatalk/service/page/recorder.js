// Records a speech with the microphone.

import { clock, get, problem } from "./dom.js";

/** Lets a button record a speech; the file is handed over when recording stops. */
export function recorder(button, onFile) {
  let recording = null;
  let timer = 0;
  button.onclick = async () => {
    if (recording) return recording.stop();
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const parts = [];
      recording = new MediaRecorder(stream);
      recording.ondataavailable = (event) => parts.push(event.data);
      recording.onstop = () => {
        clearInterval(timer);
        stream.getTracks().forEach((track) => track.stop());
        const kind = recording.mimeType.split(";")[0] || "audio/webm";
        recording = null;
        button.textContent = "Record another";
        onFile(new File(parts, `recording.${kind.split("/")[1]}`, { type: kind }));
      };
      recording.start();
    } catch {
      return problem("The microphone cannot be used: allow it, or choose a file. Browsers offer it only on this machine or over https.");
    }
    const began = Date.now();
    button.textContent = "Stop recording";
    timer = setInterval(() => (get("record-time").textContent = clock((Date.now() - began) / 1000, 0)), 250);
  };
}
