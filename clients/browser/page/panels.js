/** The two small panels of the header: how long things take, and ways to keep the conversation. */

import { box, button, make, write } from "./dom.js";

/** @typedef {import("../realtime/index.js").OmniRealtime} OmniRealtime */

const COPY = "Copy the transcript";
const LINGER_MS = 2_000; // of "Copied"

/** @param {number | null | undefined} value */
const ms = (value) => (value === null || value === undefined ? "–" : `${Math.max(0, Math.round(value))} ms`);

/** @param {OmniRealtime} omni */
export function setUpPanels(omni) {
  toggles("figures");
  toggles("keep");
  omni.addEventListener("figures", () => showFigures(omni));
  omni.addEventListener("event", (event) => {
    if (/** @type {CustomEvent} */ (event).detail.type === "omni.response.timings") showFigures(omni);
  });
  omni.addEventListener("sound", (event) => showSound(/** @type {CustomEvent} */ (event).detail));
  button("copy").addEventListener("click", () => void copy(omni.conversation.transcript()));
  button("download-text").addEventListener("click", () => download(new Blob([omni.conversation.transcript(), "\n"], { type: "text/plain" }), "txt"));
  button("download-sound").addEventListener("click", () => {
    const file = omni.recorder.file();
    if (file) download(file, "wav");
  });
  const update = () => {
    if (box("keep").hidden) return;
    button("copy").disabled = button("download-text").disabled = !omni.conversation.items.length;
    button("download-sound").disabled = omni.recorder.seconds === 0;
  };
  button("keep-button").addEventListener("click", update);
  for (const more of ["items", "sound"]) omni.addEventListener(more, update);
}

/** A button that shows and hides a panel; one is shown at a time, and Escape hides it. @param {string} id */
function toggles(id) {
  const [panel, opener] = [box(id), button(`${id}-button`)];
  const show = (/** @type {boolean} */ on) => {
    panel.hidden = !on;
    opener.setAttribute("aria-expanded", String(on));
  };
  opener.addEventListener("click", () => show(panel.hidden !== false));
  addEventListener("keydown", ({ key }) => {
    if (key === "Escape") show(false);
  });
  addEventListener("click", ({ target }) => {
    const other = target instanceof Element && target.closest("nav button");
    if (other && other !== opener) show(false);
  });
}

/** @param {OmniRealtime} omni */
function showFigures({ latency: { figures } }) {
  if (!figures) return;
  write(box("figure-total"), ms(figures.total));
  for (const part of /** @type {const} */ (["waiting", "answering", "buffering"])) {
    write(box(`figure-${part}`), ms(figures[part]));
    box(`bar-${part}`).style.flexGrow = String(Math.max(0, figures[part] ?? 0));
  }
  write(box("figure-server"), ms(figures.server));
}

/** @param {{buffered: number, underruns: number, roundTripMs: number | null}} sound */
function showSound({ buffered, underruns, roundTripMs }) {
  if (box("figures").hidden) return;
  write(box("figure-buffered"), ms(buffered / 24));
  write(box("figure-underruns"), String(underruns));
  write(box("figure-round"), ms(roundTripMs));
}

/** @param {string} text */
async function copy(text) {
  const done = await navigator.clipboard?.writeText(text).then(() => true, () => false);
  write(button("copy"), done ? "Copied" : "The browser did not allow it: download it instead");
  setTimeout(() => write(button("copy"), COPY), LINGER_MS);
}

/** @param {Blob} file @param {string} kind */
function download(file, kind) {
  const href = URL.createObjectURL(file);
  make("a", { href, download: `omni-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.${kind}` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}
