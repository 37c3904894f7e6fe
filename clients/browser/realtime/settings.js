/** How a conversation is held, in a user's words, and the same in the protocol's. */

/**
 * @typedef {object} Settings
 * @property {"open" | "push"} turns the microphone is open and the server hears when a turn ends, or a button is held
 * @property {"silence" | "meaning"} ending what ends a turn: a silence, or a silence whose length the server chooses by what was said
 * @property {number} silenceMs
 * @property {"auto" | "low" | "medium" | "high"} eagerness of "meaning"
 * @property {"command" | "voice"} interruption what silences the assistant: being told to stop, or any speech
 * @property {"speech" | "text"} answers
 */

/** @type {Readonly<Settings>} */
export const DEFAULTS = Object.freeze({
  turns: "open",
  ending: "silence",
  silenceMs: 500,
  eagerness: "auto",
  interruption: "voice",
  answers: "speech",
});

/** @param {Settings} settings @param {boolean} audible sound can be played here @returns {import("./wire.js").WireEvent} */
export function sessionUpdate(settings, audible) {
  return {
    type: "session.update",
    session: {
      type: "realtime",
      output_modalities: [audible && settings.answers === "speech" ? "audio" : "text"],
      audio: { input: { turn_detection: turnDetection(settings), transcription: { model: "omni" } } },
    },
  };
}

/** @param {Settings} settings */
function turnDetection({ turns, ending, silenceMs, eagerness, interruption }) {
  if (turns === "push") return null;
  const response = { create_response: true, interrupt_response: interruption === "voice" };
  if (ending === "meaning") return { type: "semantic_vad", eagerness, ...response };
  return { type: "server_vad", silence_duration_ms: silenceMs, ...response };
}
