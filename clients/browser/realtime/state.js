/** Where a conversation is, and what moves it: one table, one setter. */

/** @typedef {"off" | "connecting" | "ready" | "hearing" | "thinking" | "speaking"} State */
/** @typedef {"start" | "up" | "lost" | "close" | "hears" | "thinks" | "sounds" | "quiet"} Trigger */

/** @type {Record<Exclude<State, "off" | "connecting">, Partial<Record<Trigger, State>>>} */
const CONNECTED = {
  ready: { hears: "hearing", thinks: "thinking", sounds: "speaking" },
  hearing: { thinks: "thinking", sounds: "speaking", quiet: "ready" },
  thinking: { hears: "hearing", sounds: "speaking", quiet: "ready" },
  speaking: { hears: "hearing", thinks: "thinking", quiet: "ready" },
};

/**
 * The state after `trigger`. What a state does not know leaves it as it is: the server's events and the loudspeaker's are two streams.
 * @param {State} state @param {Trigger} trigger
 * @returns {State}
 */
export function next(state, trigger) {
  if (trigger === "close") return "off";
  if (state === "off") return trigger === "start" ? "connecting" : state;
  if (state === "connecting") return trigger === "up" ? "ready" : state;
  if (trigger === "lost") return "connecting";
  return CONNECTED[state][trigger] ?? state;
}
