/** What the page says, in plain words: for every state, and for everything that can go wrong a way on. */

/** @typedef {import("../realtime/problems.js").Problem} Problem */
/** @typedef {"microphone" | "camera" | "key" | "now" | "start" | "sound"} Action */

/** @type {Record<Action, string>} */
export const ACTIONS = {
  microphone: "Try the microphone again",
  camera: "Try again",
  key: "Enter a key",
  now: "Try now",
  start: "Try again",
  sound: "Turn the sound on",
};

/**
 * @typedef {object} Words
 * @property {string} title
 * @property {string} text
 * @property {Action} [action]
 */

/** @type {Record<Problem["code"], Words>} */
const PROBLEMS = {
  insecure: {
    title: "This page can’t use a microphone",
    text:
      "Browsers give it to https pages, and to pages of this machine itself. Start the server with “omni serve --host 0.0.0.0 --tls-self-signed” and open " +
      `https://${location.host}/ here. Until then you can type, and Omni answers in writing.`,
  },
  "microphone-refused": {
    title: "The microphone is blocked",
    text: "Allow it for this page, usually with the icon beside the address. You can type meanwhile.",
    action: "microphone",
  },
  "microphone-missing": { title: "No microphone was found", text: "Plug one in, or type: the answer is spoken all the same.", action: "microphone" },
  "microphone-busy": {
    title: "The microphone does not answer",
    text: "Another program may hold it. Close that one, or choose another microphone in the settings.",
    action: "microphone",
  },
  "microphone-lost": { title: "The microphone is gone", text: "It was unplugged or switched off. Another one is used as soon as there is one; you can type meanwhile." },
  "camera-refused": { title: "Nothing is shown", text: "The camera or screen was not allowed for this page. The conversation goes on without.", action: "camera" },
  "camera-missing": { title: "No camera was found", text: "You can share the screen, or drop a picture into the page." },
  "camera-busy": { title: "The camera does not answer", text: "Another program may hold it: close that one.", action: "camera" },
  "camera-lost": { title: "The camera is gone", text: "It was unplugged or switched off. The conversation goes on without." },
  "sound-blocked": { title: "The sound is paused", text: "Your browser has paused this page’s sound.", action: "sound" },
  unreachable: { title: "The server can’t be reached", text: "It may have been stopped, or the network is gone." },
  full: { title: "All places are taken", text: "The server talks with as many people as it can." },
  loading: { title: "The server is getting ready", text: "It is loading its model." },
  "key-needed": { title: "This server asks for a key", text: "Whoever runs it can give you one.", action: "key" },
  "key-wrong": { title: "The key does not fit", text: "The server does not know the key that was entered.", action: "key" },
  lost: { title: "The connection is lost", text: "What was said is kept." },
  expired: { title: "This session has reached its longest duration", text: "A new one takes over what was said." },
  restarted: { title: "The server restarts", text: "What was said is kept." },
  failed: { title: "The server had to give up this session", text: "Its log says why. What was said is kept." },
  "picture-unreadable": { title: "That is no picture that can be read", text: "Try a JPEG or a PNG." },
  "picture-ignored": { title: "This model can’t see", text: "It answers what you say and leaves pictures out." },
  refused: { title: "The server refused something", text: "" },
};

/** @param {Problem} problem @returns {Words} */
export function explain(problem) {
  const words = PROBLEMS[problem.code];
  return problem.code === "refused" ? { ...words, text: problem.message } : words;
}

/** @param {number} seconds */
export const retrying = (seconds) => (seconds > 0 ? `Next attempt in ${seconds} s.` : "Trying …");

/** @type {Record<import("../realtime/conversation.js").Item["text"], string>} */
export const NOTES = {
  stopped: "Omni heard you say stop.",
  reconnected: "Connected again. The conversation goes on.",
};

export const IDEAS = ["What can you do?", "Please tell me a joke.", "Can you tell me a short story?"];

const SILENCE = matchMedia("(pointer: coarse)").matches ? "The square button silences it." : "Esc silences it.";

/**
 * @param {import("../realtime/state.js").State} state
 * @param {{push: boolean, muted: boolean, microphone: boolean, command: boolean}} how
 * @returns {[string, string]} what goes on, and what one can do
 */
export function status(state, { push, muted, microphone, command }) {
  const talk = !microphone ? "Type, or turn the microphone on." : push ? "Hold the button or the space bar to talk." : muted ? "Nobody hears you." : "Go ahead.";
  switch (state) {
    case "off":
      return ["Ready when you are", ""];
    case "connecting":
      return ["Connecting …", ""];
    case "ready":
      return [microphone && !push ? (muted ? "Muted" : "Listening") : "Waiting for you", talk];
    case "hearing":
      return ["Hearing you", push ? "Let go when you have finished." : ""];
    case "thinking":
      return ["Thinking", ""];
    case "speaking":
      return ["Speaking", !microphone || muted || push ? SILENCE : command ? "Say “stop omni” to interrupt." : "Speak to interrupt."];
  }
}
