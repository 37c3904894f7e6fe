/**
 * The camera, or the screen: one JPEG a second, no wider or higher than 768 px. Events: `frame` {image: data URL}, `lost`.
 */

import { openDevice } from "./media.js";
import { Problem, checkSecure, deviceProblem } from "./problems.js";

const PERIOD_MS = 1_000;
const MOST_PX = 768;
const QUALITY = 0.8;

export class Camera extends EventTarget {
  #timer;
  #video = document.createElement("video");

  /** @param {MediaStream} stream */
  constructor(stream) {
    super();
    /** for a preview: `video.srcObject = camera.stream` */
    this.stream = stream;
    this.#video.muted = this.#video.playsInline = true;
    this.#video.srcObject = stream;
    this.#video.addEventListener("loadeddata", () => this.#take(), { once: true });
    this.#video.play().catch(() => {}); // it was closed before it began
    this.#timer = setInterval(() => this.#take(), PERIOD_MS);
    stream.getVideoTracks()[0].addEventListener("ended", () => this.dispatchEvent(new CustomEvent("lost")));
  }

  /** Ask for a camera. Throws Problem. @param {string} [deviceId] */
  static async open(deviceId) {
    return new Camera(await openDevice("camera", { width: { ideal: 1280 }, height: { ideal: 720 }, facingMode: "environment" }, deviceId));
  }

  /** Ask for the screen, a window or a tab. Throws Problem. */
  static async openScreen() {
    checkSecure();
    try {
      return new Camera(await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: 5 }, audio: false }));
    } catch (error) {
      throw deviceProblem(error, "camera");
    }
  }

  close() {
    clearInterval(this.#timer);
    this.stream.getTracks().forEach((track) => track.stop());
    this.#video.srcObject = null;
  }

  #take() {
    const { videoWidth, videoHeight } = this.#video;
    if (!videoWidth || this.#video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
    this.dispatchEvent(new CustomEvent("frame", { detail: { image: draw(this.#video, videoWidth, videoHeight) } }));
  }
}

/**
 * A picture that was chosen, dropped or pasted, made small. Throws Problem.
 * @param {Blob} file
 * @returns {Promise<string>} a data URL
 */
export async function readPicture(file) {
  try {
    const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
    const picture = draw(bitmap, bitmap.width, bitmap.height);
    bitmap.close();
    return picture;
  } catch (error) {
    throw new Problem("picture-unreadable", String(error));
  }
}

/** @param {CanvasImageSource} source @param {number} width @param {number} height */
function draw(source, width, height) {
  const scale = Math.min(1, MOST_PX / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = "white"; // what is transparent would be black in a JPEG
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", QUALITY);
}
