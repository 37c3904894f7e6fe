/** Asking the browser for a device. */

import { checkSecure, deviceProblem } from "./problems.js";

/**
 * Open the wanted microphone or camera; another one, where that is gone. Throws Problem.
 * @param {"microphone" | "camera"} device
 * @param {MediaTrackConstraints} constraints
 * @param {string} [id] which one
 * @returns {Promise<MediaStream>}
 */
export async function openDevice(device, constraints, id) {
  checkSecure();
  const ask = (/** @type {MediaTrackConstraints} */ wanted) => navigator.mediaDevices.getUserMedia({ [device === "camera" ? "video" : "audio"]: wanted });
  try {
    const chosen = id && (await ask({ ...constraints, deviceId: { exact: id } }).catch(nullIfGone)); // an "ideal" one is not always given
    return chosen || (await ask(constraints));
  } catch (error) {
    throw deviceProblem(error, device);
  }
}

/** @param {Error} error */
function nullIfGone(error) {
  if (error.name === "NotFoundError" || error.name === "OverconstrainedError") return null;
  throw error;
}
