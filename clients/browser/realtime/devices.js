/**
 * The devices of one conversation: which are open, which are wanted, and what becomes of them when they are unplugged.
 *
 * Events: `chunk`, `frame`, `changed` (what is open), `problem`; and the loudspeaker's `started`, `ended`, `progress`.
 */

import { Camera } from "./camera.js";
import { Microphone } from "./microphone.js";
import { Problem } from "./problems.js";
import { Speaker } from "./speaker.js";

/** @typedef {"microphone" | "speaker" | "camera"} Kind */

export class Devices extends EventTarget {
  /** @type {Microphone | null} */
  microphone = null;
  /** @type {Speaker | null} */
  speaker = null;
  /** @type {Camera | null} */
  camera = null;
  /** @type {"camera" | "screen" | null} what `camera` shows */
  showing = null;
  #muted = false;
  #wanted = false; // a microphone
  /** @type {Record<Kind, string>} ids; "": the usual one */
  #chosen = { microphone: "", speaker: "", camera: "" };
  #replugged = () => void this.#lookAgain();

  /** What can be chosen; names are known once a device of that kind was opened. @returns {Promise<Record<Kind, {id: string, name: string}[]>>} */
  static async list() {
    const found = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    const of = (/** @type {string} */ kind) =>
      found.filter((device) => device.kind === kind && device.deviceId).map(({ deviceId, label }) => ({ id: deviceId, name: label }));
    return { microphone: of("audioinput"), speaker: of("audiooutput"), camera: of("videoinput") };
  }

  /** Use this one, now or when its kind is opened. @param {Kind} kind @param {string} id "": the usual one */
  async choose(kind, id) {
    if (this.#chosen[kind] === id) return;
    this.#chosen[kind] = id;
    if (kind === "speaker") await this.speaker?.use(id);
    if (kind === "microphone" && this.microphone) await this.openMicrophone();
    if (kind === "camera" && this.showing === "camera") await this.openCamera();
  }

  /** Throws Problem. */
  async openSpeaker() {
    const speaker = await Speaker.open();
    for (const type of ["started", "ended", "progress"]) speaker.addEventListener(type, (event) => this.#tell(type, /** @type {CustomEvent} */ (event).detail));
    if (this.#chosen.speaker) await speaker.use(this.#chosen.speaker).catch(() => {}); // it is gone: the usual one plays
    this.speaker = speaker;
    this.#tell("changed");
  }

  /** Throws Problem. */
  async openMicrophone() {
    this.#wanted = true;
    navigator.mediaDevices?.addEventListener("devicechange", this.#replugged);
    await this.#closeMicrophone();
    const microphone = await Microphone.open(this.#chosen.microphone);
    if (!this.#wanted || this.microphone) return microphone.close(); // meanwhile it was closed, or opened twice
    microphone.muted = this.#muted;
    microphone.addEventListener("chunk", (event) => this.#tell("chunk", /** @type {CustomEvent} */ (event).detail));
    microphone.addEventListener("lost", () => void this.#replace());
    this.microphone = microphone;
    this.#tell("changed");
  }

  get muted() {
    return this.#muted;
  }

  set muted(on) {
    this.#muted = on;
    if (this.microphone) this.microphone.muted = on;
    this.#tell("changed");
  }

  /** Throws Problem. */
  async openCamera() {
    this.#show(await Camera.open(this.#chosen.camera), "camera");
  }

  /** Throws Problem. */
  async openScreen() {
    this.#show(await Camera.openScreen(), "screen");
  }

  closeCamera() {
    this.camera?.close();
    this.camera = this.showing = null;
    this.#tell("changed");
  }

  /** Give all of them back. */
  async close() {
    this.#wanted = false;
    navigator.mediaDevices?.removeEventListener("devicechange", this.#replugged);
    if (this.camera) this.closeCamera();
    const { speaker } = this;
    this.speaker = null;
    await Promise.all([this.#closeMicrophone(), speaker?.close()]);
    this.#tell("changed");
  }

  /** @param {Camera} camera @param {"camera" | "screen"} what */
  #show(camera, what) {
    this.camera?.close();
    this.camera = camera;
    this.showing = what;
    camera.addEventListener("frame", (event) => this.#tell("frame", /** @type {CustomEvent} */ (event).detail));
    camera.addEventListener("lost", () => {
      if (this.camera !== camera) return;
      this.closeCamera();
      if (what === "camera") this.#tell("problem", new Problem("camera-lost", "the camera was taken away"));
    });
    this.#tell("changed");
  }

  async #closeMicrophone() {
    const { microphone } = this;
    this.microphone = null;
    await microphone?.close();
  }

  /** The microphone is gone: another one does, if there is one. */
  async #replace() {
    await this.#closeMicrophone();
    this.#tell("changed");
    this.#tell("problem", new Problem("microphone-lost", "the microphone was unplugged or taken away"));
    await this.#lookAgain();
  }

  /** Something was plugged in or out. */
  async #lookAgain() {
    this.#tell("changed");
    if (!this.#wanted || this.microphone) return;
    await this.openMicrophone().catch(() => {}); // that there is none was said
  }

  /** @param {string} type @param {unknown} [detail] */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
