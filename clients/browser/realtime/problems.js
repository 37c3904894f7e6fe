/**
 * What can go wrong, by name. The words for it are the page's business; `message` is for developers and logs.
 */

/**
 * @typedef {"insecure" | "microphone-refused" | "microphone-missing" | "microphone-busy" | "microphone-lost"
 *   | "camera-refused" | "camera-missing" | "camera-busy" | "camera-lost" | "sound-blocked"
 *   | "unreachable" | "full" | "loading" | "key-needed" | "key-wrong" | "lost" | "expired" | "restarted" | "failed"
 *   | "picture-unreadable" | "picture-ignored" | "refused"} ProblemCode
 */

export class Problem extends Error {
  /**
   * @param {ProblemCode} code
   * @param {string} message
   * @param {{retry?: boolean}} [options] retry: it may pass by itself
   */
  constructor(code, message, { retry = false } = {}) {
    super(message);
    this.name = "Problem";
    this.code = code;
    this.retry = retry;
  }
}

/**
 * Why a device was not given.
 * @param {unknown} error of getUserMedia or getDisplayMedia
 * @param {"microphone" | "camera"} device
 * @returns {Problem}
 */
export function deviceProblem(error, device) {
  if (error instanceof Problem) return error;
  const { name = "", message = String(error) } = /** @type {Partial<Error>} */ (error ?? {});
  if (name === "NotFoundError" || name === "OverconstrainedError") return new Problem(`${device}-missing`, message);
  if (name === "NotReadableError" || name === "AbortError") return new Problem(`${device}-busy`, message);
  return new Problem(`${device}-refused`, message);
}

/** Browsers give microphones, cameras and worklets to https and to the machine itself alone. Throws Problem elsewhere. */
export function checkSecure() {
  if (!globalThis.isSecureContext || !navigator.mediaDevices) throw new Problem("insecure", "no secure context: microphone and camera need https or localhost");
}

/**
 * Why an open connection was closed.
 * @param {number} code @param {string} reason
 * @returns {Problem}
 */
export function closeProblem(code, reason) {
  const said = `closed with ${code}${reason && `: ${reason}`}`;
  if (code === 1013) return new Problem(reason.startsWith("busy") ? "full" : "loading", said, { retry: true });
  if (code === 1012) return new Problem("restarted", said, { retry: true });
  if (code === 1001 && reason === "session_expired") return new Problem("expired", said, { retry: true });
  if (code === 1011) return new Problem("failed", said, { retry: true });
  return new Problem("lost", said, { retry: true });
}

/**
 * Why a connection could not be opened: a browser does not say, but the same server's list of models does.
 * @param {URL} url of the WebSocket @param {string} key
 * @returns {Promise<Problem>}
 */
export async function openProblem(url, key) {
  const models = new URL("models", url);
  models.protocol = url.protocol === "wss:" ? "https:" : "http:";
  models.search = "";
  try {
    const reply = await fetch(models, { headers: key ? { authorization: `Bearer ${key}` } : {}, signal: AbortSignal.timeout(5_000) });
    if (reply.status === 401) return key ? new Problem("key-wrong", "the server does not know this key") : new Problem("key-needed", "the server asks for a key");
    return new Problem("lost", "the server answers, but the connection did not open", { retry: true });
  } catch (error) {
    return new Problem("unreachable", `no answer from ${models.host}: ${error}`, { retry: true });
  }
}
