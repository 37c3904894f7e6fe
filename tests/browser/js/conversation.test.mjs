// What the page makes of the server's events: captions, cut answers, figures, states.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Conversation } from "../../../clients/browser/realtime/conversation.js";
import { Latency } from "../../../clients/browser/realtime/latency.js";
import { backOff } from "../../../clients/browser/realtime/line.js";
import { sessionUpdate, DEFAULTS } from "../../../clients/browser/realtime/settings.js";
import { next } from "../../../clients/browser/realtime/state.js";

const message = (id, role, ...content) => ({ id, type: "message", role, content });
const spoken = (item_id) => [
  { type: "input_audio_buffer.speech_started", item_id },
  { type: "input_audio_buffer.speech_stopped", item_id },
  { type: "input_audio_buffer.committed", item_id },
  { type: "conversation.item.added", item: message(item_id, "user", { type: "input_audio", transcript: null }) },
];
const answered = (item_id, ...words) => [
  { type: "conversation.item.added", item: message(item_id, "assistant") },
  ...words.map((delta) => ({ type: "response.output_audio_transcript.delta", item_id, delta })),
];
const after = (...events) => {
  const conversation = new Conversation();
  events.flat().forEach((event) => conversation.apply(event));
  return conversation;
};
const words = (conversation) => conversation.items.map(({ role, text }) => [role, text]);

test("both sides come as captions, in the order they were said", () => {
  const transcript = { type: "conversation.item.input_audio_transcription.completed", item_id: "u", transcript: "who are you" };
  const conversation = after(spoken("u"), answered("a", "I am", " Omni."), transcript);
  assert.deepEqual(words(conversation), [["user", "who are you"], ["assistant", "I am Omni."]]);
});

test("of an answer that was cut short, what the server keeps was heard and the rest was not", () => {
  const kept = { type: "conversation.item.retrieved", item: message("a", "assistant", { type: "output_audio", transcript: "Once there was" }) };
  const conversation = after(spoken("u"), answered("a", "Once there was", " a little boat."), kept);
  assert.equal(conversation.find("a").heard, "Once there was");
  assert.match(conversation.transcript(), /Omni: Once there was \[not heard: a little boat\.\]/);
});

test("an answer that was heard to its end is not struck through", () => {
  const kept = { type: "conversation.item.retrieved", item: message("a", "assistant", { type: "output_audio", transcript: "Hello." }) };
  assert.equal(after(answered("a", "Hello."), kept).find("a").heard, null);
});

test("the command to stop is no turn: its caption goes when nothing was committed", () => {
  const [started, stopped] = spoken("u");
  assert.equal(after(answered("a", "Once"), started).items.length, 2);
  const conversation = after(answered("a", "Once"), started, stopped, { type: "rate_limits.updated" });
  assert.deepEqual(words(conversation), [["assistant", "Once"]]);
});

test("a new connection is told what was said and heard, under the same ids", () => {
  const conversation = after(spoken("u"), answered("a", "Once there was", " a boat."));
  Object.assign(conversation.find("u"), { text: "tell me a story" });
  Object.assign(conversation.find("a"), { heard: "Once there was" });
  conversation.note("reconnected");
  assert.deepEqual(conversation.restoration().map(({ item }) => [item.id, item.role, item.content]), [
    ["u", "user", [{ type: "input_text", text: "tell me a story" }]],
    ["a", "assistant", [{ type: "output_text", text: "Once there was" }]],
  ]);
});

test("restored items come back from the server without being shown twice", () => {
  const conversation = after(answered("a", "Hello."));
  conversation.restoration().forEach(({ item }) => conversation.apply({ type: "conversation.item.added", item }));
  assert.equal(conversation.items.length, 1);
});

test("the figures begin at the last loud chunk of the turn, not where the server noticed", () => {
  const latency = new Latency();
  for (let n = 1; n <= 25; n++) latency.sent(new Int16Array(960).fill(n > 2 && n <= 15 ? 9_000 : 20), 1_000 + 40 * n);
  latency.turnEnded(0, 760, 2_000); // the server counts some silence in
  latency.arrived("a", 2_060);
  assert.ok(latency.sounded("a", 2_150));
  assert.deepEqual(latency.figures, { total: 550, waiting: 400, answering: 60, buffering: 90, server: null });
  assert.ok(!latency.sounded("b", 9_000)); // nobody asked for it
});

test("states follow the table; what a state does not know leaves it", () => {
  const walk = (...triggers) => triggers.reduce(next, "off");
  assert.equal(walk("start", "up", "hears", "thinks", "sounds", "quiet"), "ready");
  assert.equal(walk("start", "up", "thinks", "sounds", "lost"), "connecting");
  assert.equal(walk("sounds"), "off");
  assert.equal(walk("start", "quiet"), "connecting");
  assert.equal(walk("start", "up", "close"), "off");
});

test("waits between attempts grow, end, and are never the same for everybody", () => {
  assert.deepEqual([0, 1, 2, 9].map((attempt) => backOff(attempt, 0.5)), [500, 1_000, 2_000, 8_000]);
  assert.notEqual(backOff(3, 0), backOff(3, 0.9));
});

test("settings become the protocol's session", () => {
  const detection = (settings) => sessionUpdate({ ...DEFAULTS, ...settings }, true).session.audio.input.turn_detection;
  assert.deepEqual(detection({ interruption: "command", silenceMs: 200 }), {
    type: "server_vad",
    silence_duration_ms: 200,
    create_response: true,
    interrupt_response: false,
  });
  assert.equal(detection({ ending: "meaning", eagerness: "low" }).type, "semantic_vad");
  assert.equal(detection({ turns: "push" }), null);
  assert.deepEqual(sessionUpdate(DEFAULTS, false).session.output_modalities, ["text"]); // nothing can be played there
});
