/** The camera, the screen, and pictures that are chosen, pasted or dropped. */

import { box, button, byId } from "./dom.js";

/** @typedef {import("../realtime/index.js").OmniRealtime} OmniRealtime */

export class Pictures {
  #omni;
  #report;
  #video = byId("preview-video", HTMLVideoElement);
  /** what was tried last, to be tried again @type {"camera" | "screen"} */
  #tried = "camera";

  /** @param {OmniRealtime} omni @param {(problem: any) => void} report */
  constructor(omni, report) {
    this.#omni = omni;
    this.#report = report;
    for (const what of /** @type {const} */ (["camera", "screen"])) button(what).addEventListener("click", () => void this.#toggle(what));
    button("preview-close").addEventListener("click", () => omni.devices.closeCamera());
    const file = byId("picture-file", HTMLInputElement);
    button("picture").addEventListener("click", () => file.click());
    file.addEventListener("change", () => {
      this.#showAll(file.files);
      file.value = "";
    });
    addEventListener("paste", (event) => this.#showAll(event.clipboardData?.files));
    addEventListener("dragover", (event) => this.#drag(event, true));
    addEventListener("dragleave", (event) => event.relatedTarget === null && this.#drag(event, false));
    addEventListener("drop", (event) => {
      this.#drag(event, false);
      this.#showAll(event.dataTransfer?.files);
    });
    omni.addEventListener("devices", () => this.#update());
    button("screen").hidden = !navigator.mediaDevices?.getDisplayMedia; // phones have none
  }

  /** Try once more what did not work. */
  again() {
    void this.#toggle(this.#tried);
  }

  /** @param {"camera" | "screen"} what */
  async #toggle(what) {
    const { devices } = this.#omni;
    this.#tried = what;
    if (devices.showing === what) return devices.closeCamera();
    try {
      await (what === "camera" ? devices.openCamera() : devices.openScreen());
    } catch (problem) {
      this.#report(problem);
    }
  }

  #update() {
    const { camera, showing } = this.#omni.devices;
    for (const what of ["camera", "screen"]) button(what).setAttribute("aria-pressed", String(showing === what));
    box("preview").hidden = camera === null;
    this.#video.classList.toggle("mirrored", showing === "camera" && camera?.stream.getVideoTracks()[0].getSettings().facingMode !== "environment");
    if (this.#video.srcObject === (camera?.stream ?? null)) return;
    this.#video.srcObject = camera?.stream ?? null;
    if (camera) this.#video.play().catch(() => {}); // it was closed before it began
  }

  /** @param {DragEvent} event @param {boolean} over */
  #drag(event, over) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.toggle("dropping", over);
  }

  /** @param {FileList | null | undefined} files */
  #showAll(files) {
    for (const file of files ?? []) void this.#omni.show(file);
  }
}
