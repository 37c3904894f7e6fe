/**
 * OmniRealtime: a spoken conversation with an Omni Duplex server, in a page of yours.
 *
 * Owns the order of things: what the server's events, the microphone and the loudspeaker do to each other. See README.md.
 *
 * Events: `up` (connected, maybe again), `state` {state}, `items` (the conversation changed), `devices` (what is open changed), `problem` {Problem},
 * `waiting` {problem, ms} (it is tried again by itself), `listener` {irq}, `figures` {Figures}, `sound` {buffered, target, underruns, roundTripMs},
 * `session` {the session object}, `event` {everything that the server says}.
 */

import { readPicture } from "./camera.js";
import { Conversation } from "./conversation.js";
import { Devices } from "./devices.js";
import { Latency } from "./latency.js";
import { Line } from "./line.js";
import { decode, encode, toMs } from "./pcm.js";
import { Problem } from "./problems.js";
import { Recorder } from "./recorder.js";
import { DEFAULTS, sessionUpdate } from "./settings.js";
import { next } from "./state.js";

export { Devices, Problem, DEFAULTS };

const ACK_MS = 250;
const AGAIN_MS = [1_000, 3_000, 8_000]; // by then a server, even a busy one, has listened to what was heard of an answer, and knows its words
const SHORTEST_PRESS_MS = 250;
const RELEASE_MS = 120; // fingers are quicker than last syllables
const STALE_BYTES = 256 * 1024; // some 4 s of speech that have not left: what comes on top is dropped
const STALE_FRAME_BYTES = 32 * 1024;
/** Two sides may act at the same time: these say no more than that the other was quicker. */
const RACES = new Set(["response_cancel_not_active", "input_audio_buffer_commit_empty", "item_truncate_invalid_item_id", "item_retrieve_invalid_item_id"]);

/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./wire.js").WireEvent} WireEvent */

export class OmniRealtime extends EventTarget {
  /** @type {Line | null} */
  #line = null;
  /** @type {string | null} the response in progress */
  #response = null;
  #pressedAt = /** @type {number | null} */ (null);
  #speechMs = 0; // where the turn that is spoken began, in the audio sent
  #ackedAt = 0;
  /** @type {import("./state.js").State} */
  #state = "off";
  /** what the server says the session is @type {any} */
  session = null;
  devices = new Devices();
  conversation = new Conversation();
  latency = new Latency();
  recorder = new Recorder();

  /**
   * @param {import("./wire.js").WireOptions & {settings?: Partial<Settings>}} options url: of `/v1/realtime`, ws: or wss:;
   *   key: where the server asks for one
   */
  constructor({ settings = {}, ...options }) {
    super();
    this.options = options;
    /** @type {Settings} */
    this.settings = { ...DEFAULTS, ...settings };
    const on = (/** @type {string} */ type, /** @type {(detail: any) => void} */ take) =>
      this.devices.addEventListener(type, (event) => take(/** @type {CustomEvent} */ (event).detail));
    on("chunk", (chunk) => this.#hear(chunk));
    on("frame", ({ image }) => this.#see(image));
    on("started", ({ item, at }) => this.#sounds(item, at));
    on("progress", (progress) => this.#plays(progress));
    on("ended", ({ item, samples }) => this.#ends(item, samples));
    on("changed", () => this.#tell("devices"));
    on("problem", (problem) => this.#tell("problem", problem));
  }

  get state() {
    return this.#state;
  }

  // -- what a page asks for

  /** Begin; call it from a click. Troubles are told as `problem`: without a microphone one can still type. @param {{microphone?: boolean}} [options] */
  async start({ microphone = true } = {}) {
    if (this.#state === "off") {
      this.#move("start");
      await this.#attempt(this.devices.openSpeaker());
      this.#connect();
    }
    this.devices.speaker?.resume();
    if (microphone && !this.devices.microphone) await this.#attempt(this.devices.openMicrophone());
  }

  /** End it, and give every device back. What was said stays. */
  async stop() {
    this.#line?.close();
    this.#line = null;
    this.conversation.breakOff();
    this.#move("close");
    this.#tell("items");
    await this.devices.close();
  }

  /** The assistant falls silent. */
  interrupt() {
    if (this.#response !== null) this.#send({ type: "response.cancel" });
    void this.#cutShort();
  }

  /** A typed turn. @param {string} text */
  async say(text) {
    if (this.#state === "off") await this.start({ microphone: false });
    if (!(await this.#connected())) return;
    this.interrupt();
    const id = newId();
    this.conversation.say({ id, text });
    this.#create(id, { type: "input_text", text });
    this.#send({ type: "response.create" });
    this.latency.asked(performance.now());
    this.#move("thinks");
  }

  /** A picture: what is asked next is about it. @param {Blob} file */
  async show(file) {
    const picture = await this.#attempt(readPicture(file));
    if (this.#state === "off") await this.start({ microphone: false });
    if (!picture || !(await this.#connected())) return;
    const id = newId();
    this.conversation.say({ id, picture });
    this.#create(id, { type: "input_image", image_url: picture });
  }

  /** Push-to-talk: the button goes down. */
  press() {
    if (this.#pressedAt !== null || !this.#line?.up || !this.devices.microphone) return;
    this.interrupt();
    this.#send({ type: "input_audio_buffer.clear" });
    this.#pressedAt = performance.now();
    this.#move("hears");
  }

  /** ... and up: the turn is over. */
  async release() {
    const pressedAt = this.#pressedAt;
    if (pressedAt === null) return;
    await new Promise((resolve) => setTimeout(resolve, RELEASE_MS));
    this.#pressedAt = null;
    const now = performance.now();
    if (now - pressedAt < SHORTEST_PRESS_MS) return this.#move("quiet");
    this.latency.turnGiven(pressedAt, now);
    this.#send({ type: "input_audio_buffer.commit" });
    this.#send({ type: "response.create" });
    this.#move("thinks");
  }

  /** Change settings, now and for the next connection. @param {Partial<Settings>} settings */
  configure(settings) {
    Object.assign(this.settings, settings);
    this.#send(sessionUpdate(this.settings, this.devices.speaker !== null));
  }

  /** Use this device, now or once its kind is opened. @param {import("./devices.js").Kind} kind @param {string} id "": the usual one */
  async choose(kind, id) {
    await this.#attempt(this.devices.choose(kind, id));
  }

  /** Don't wait for the next attempt to connect. */
  hurry() {
    this.#line?.hurry();
  }

  /** Any event of the protocol. @param {WireEvent} event */
  send(event) {
    this.#send(event);
  }

  // -- the connection

  #connect() {
    const line = (this.#line = new Line(this.options));
    const on = (/** @type {string} */ type, /** @type {(detail: any) => void} */ take) =>
      line.addEventListener(type, (event) => this.#line === line && take(/** @type {CustomEvent} */ (event).detail));
    on("up", ({ session, again }) => this.#begin(session, again));
    on("event", (event) => this.#take(event));
    on("waiting", (waiting) => {
      this.#break();
      this.#tell("waiting", waiting);
    });
    on("down", ({ problem }) => {
      void this.stop();
      this.#tell("problem", problem);
    });
    void line.run();
  }

  /** @param {any} session @param {boolean} again */
  #begin(session, again) {
    this.session = session;
    this.latency.restart();
    this.#send(sessionUpdate(this.settings, this.devices.speaker !== null));
    if (again && this.conversation.items.length) {
      this.conversation.restoration().forEach((event) => this.#send(event));
      this.conversation.note("reconnected");
      this.#tell("items");
    }
    this.#move("up");
    this.#tell("up");
  }

  #break() {
    if (this.#state === "connecting") return;
    this.#response = this.#pressedAt = null;
    this.devices.speaker?.endAll();
    this.conversation.breakOff();
    this.#move("lost");
    this.#tell("items");
  }

  /** @returns {Promise<boolean>} false: it was given up */
  async #connected() {
    while (this.#state === "connecting") await new Promise((resolve) => this.addEventListener("state", resolve, { once: true }));
    return this.#state !== "off";
  }

  // -- what the server says

  /** @param {WireEvent} event */
  #take(event) {
    switch (event.type) {
      case "session.updated":
        this.session = event.session;
        this.#tell("session", event.session);
        break;
      case "error":
        this.#refused(event.error);
        break;
      case "input_audio_buffer.speech_started":
        this.#speechMs = event.audio_start_ms;
        void this.#cutShort();
        this.#move("hears");
        break;
      case "input_audio_buffer.speech_stopped":
        this.latency.turnEnded(this.#speechMs, event.audio_end_ms, performance.now());
        if (this.#state === "hearing") this.#move("quiet");
        break;
      case "response.created":
        this.#response = event.response.id;
        this.#move("thinks");
        break;
      case "response.output_audio.delta":
        this.latency.arrived(event.item_id, performance.now());
        this.devices.speaker?.push(event.item_id, decode(event.delta));
        break;
      case "response.output_audio.done":
        this.devices.speaker?.end(event.item_id);
        break;
      case "response.done":
        this.#response = null;
        if (event.response.status_details?.reason === "turn_detected") void this.#cutShort();
        if (!this.devices.speaker?.busy) this.#move("quiet");
        break;
      case "omni.listener.status":
        this.#listens(event.status === "irq");
        break;
      case "omni.response.timings":
        if (this.latency.figures) this.latency.figures.server = event.server_ttfa_ms;
        break;
    }
    if (this.conversation.apply(event)) this.#tell("items");
    this.#tell("event", event);
  }

  /** @param {boolean} irq the user wants the assistant to stop */
  #listens(irq) {
    if (irq) {
      void this.#cutShort();
      this.conversation.note("stopped");
      this.#tell("items");
    }
    this.#tell("listener", { irq });
  }

  /** @param {{code: string, message: string}} error */
  #refused({ code, message }) {
    if (RACES.has(code) || code === "session_expired") return; // the latter closes the connection, which is told then
    this.#tell("problem", new Problem(code === "image_not_supported" ? "picture-ignored" : "refused", message));
  }

  // -- what is heard here

  /** @param {{pcm: Int16Array, at: number}} chunk of the microphone */
  #hear({ pcm, at }) {
    if (this.settings.turns === "push" && this.#pressedAt === null) return;
    this.recorder.hear(pcm, at);
    if (!this.#line?.up || this.#line.waiting > STALE_BYTES) return;
    this.latency.sent(pcm, at);
    this.#send({ type: "input_audio_buffer.append", audio: encode(pcm) });
  }

  /** @param {string} image a data URL */
  #see(image) {
    if (this.#line?.up && this.#line.waiting < STALE_FRAME_BYTES) this.#send({ type: "input_image_buffer.append", image });
  }

  /** @param {string} item @param {number} at */
  #sounds(item, at) {
    this.#move("sounds");
    if (this.latency.sounded(item, at + (this.devices.speaker?.latencyMs ?? 0))) this.#tell("figures", this.latency.figures);
  }

  /** @param {{pcm: Int16Array, at: number, current: import("./jitter.js").Heard | null}} progress of the loudspeaker */
  #plays({ pcm, at, current, ...sound }) {
    this.recorder.play(pcm, at);
    this.#tell("sound", { ...sound, roundTripMs: this.#line?.roundTripMs ?? null });
    if (current && at > this.#ackedAt + ACK_MS) {
      this.#ackedAt = at;
      this.#acknowledge(current.item, current.samples);
    }
  }

  /** @param {string} item @param {number} samples */
  #ends(item, samples) {
    this.#acknowledge(item, samples);
    if (this.#response === null && !this.devices.speaker?.busy) this.#move("quiet");
  }

  /** @param {string} item @param {number} samples */
  #acknowledge(item, samples) {
    this.#send({ type: "omni.playback", item_id: item, audio_ms: toMs(samples) });
  }

  /** Silence at once; the server is told what was really heard, and asked which words that was. */
  async #cutShort() {
    const { speaker } = this.devices;
    if (!speaker?.busy) return;
    if (this.#state === "speaking") this.#move("quiet");
    const heard = await speaker.clear();
    const ask = () => heard.forEach(({ item }) => this.#send({ type: "conversation.item.retrieve", item_id: item }));
    for (const { item, samples } of heard) {
      this.#send({ type: "conversation.item.truncate", item_id: item, content_index: 0, audio_end_ms: toMs(samples) });
    }
    ask();
    AGAIN_MS.forEach((ms) => setTimeout(ask, ms));
  }

  // -- small things

  /** @param {string} id @param {Record<string, string>} part */
  #create(id, part) {
    this.#send({ type: "conversation.item.create", item: { id, type: "message", role: "user", content: [part] } });
    this.#tell("items");
  }

  /** @param {WireEvent} event */
  #send(event) {
    this.#line?.send(event);
  }

  /** @param {import("./state.js").Trigger} trigger */
  #move(trigger) {
    const state = next(this.#state, trigger);
    if (state === this.#state) return;
    this.#state = state;
    this.#tell("state", { state });
  }

  /** @template T @param {Promise<T>} promise @returns {Promise<T | null>} null: it failed, which is told */
  async #attempt(promise) {
    try {
      return await promise;
    } catch (error) {
      this.#tell("problem", error instanceof Problem ? error : new Problem("refused", String(error)));
      return null;
    }
  }

  /** @param {string} type @param {unknown} [detail] */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

const newId = () => `item_${crypto.getRandomValues(new Uint32Array(3)).join("")}`;
