/** The row of buttons, the space bar, the message box, and the line that says what goes on. */

import { box, button, byId, useIcon, write } from "./dom.js";
import { status } from "./words.js";

/** @typedef {import("../realtime/index.js").OmniRealtime} OmniRealtime */

export class TalkBar {
  #omni;
  #talk = button("talk");
  #text = byId("text", HTMLInputElement);

  /** @param {OmniRealtime} omni */
  constructor(omni) {
    this.#omni = omni;
    this.#talk.addEventListener("click", () => this.#clicked());
    this.#talk.addEventListener("pointerdown", (event) => this.#holding() && this.#hold(event));
    this.#talk.addEventListener("contextmenu", (event) => this.#holding() && event.preventDefault()); // a long press is no click here
    for (const over of ["pointerup", "pointercancel"]) addEventListener(over, () => void omni.release());
    addEventListener("blur", () => void omni.release());
    addEventListener("keydown", (event) => this.#keyDown(event));
    addEventListener("keyup", (event) => event.code === "Space" && void omni.release());
    button("stop").addEventListener("click", () => omni.interrupt());
    button("end").addEventListener("click", () => void omni.stop());
    byId("typed", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    omni.addEventListener("state", () => this.update());
    omni.addEventListener("devices", () => this.update());
    this.update();
  }

  /** Show what goes on. */
  update() {
    const { state, devices, settings } = this.#omni;
    const microphone = devices.microphone !== null;
    const push = settings.turns === "push";
    const [what, hint] = status(state, { push, muted: devices.muted, microphone, command: settings.interruption === "command" });
    document.body.dataset.state = state;
    document.title = state === "off" ? "Omni" : `${what} – Omni`;
    write(box("status-text"), what);
    write(box("status-hint"), hint);
    const label = state === "off" ? "Start talking" : !microphone ? "Talk" : push ? "Hold to talk" : devices.muted ? "Unmute" : "Mute";
    write(box("talk-label"), label);
    useIcon("talk-icon", microphone && devices.muted && !push ? "mic-off" : "mic");
    this.#talk.classList.toggle("on", microphone && !devices.muted && state !== "off");
    button("stop").disabled = state !== "speaking" && state !== "thinking";
    button("end").disabled = state === "off";
  }

  /** The button is held, not clicked. */
  #holding() {
    return this.#omni.settings.turns === "push" && this.#omni.devices.microphone !== null && this.#omni.state !== "off";
  }

  #clicked() {
    const { state, devices } = this.#omni;
    if (state === "off" || !devices.microphone) void this.#omni.start();
    else if (!this.#holding()) devices.muted = !devices.muted;
  }

  /** @param {PointerEvent} event */
  #hold(event) {
    event.preventDefault();
    this.#omni.press();
  }

  /** @param {KeyboardEvent} event */
  #keyDown(event) {
    const elsewhere = event.target instanceof Element && event.target.closest("input, select, dialog, button:not(#talk)");
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) this.#omni.interrupt();
    if (event.code !== "Space" || elsewhere || !this.#holding()) return;
    event.preventDefault();
    if (!event.repeat) this.#omni.press();
  }

  #send() {
    const text = this.#text.value.trim();
    if (!text) return;
    this.#text.value = "";
    void this.#omni.say(text);
  }
}
