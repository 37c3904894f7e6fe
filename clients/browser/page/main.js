/** The page: puts its parts together, and keeps the conversation going when the browser would rather not. */

import { OmniRealtime, Problem } from "../realtime/index.js";
import { box, button, byId, make, write } from "./dom.js";
import { Captions } from "./captions.js";
import { Notices } from "./notices.js";
import { setUpPanels } from "./panels.js";
import { Pictures } from "./pictures.js";
import { SettingsPanel, readSettings } from "./settings-panel.js";
import { TalkBar } from "./talk-bar.js";
import { Waves } from "./waves.js";
import { IDEAS } from "./words.js";

/** What the server's model can do, in its own words. @typedef {{model: string | null, listens: boolean, sees: boolean}} Server */

const url = new URL("v1/realtime", location.href.replace(/^http/, "ws"));
url.search = url.hash = "";
const { settings, devices, key } = readSettings();
export const omni = new OmniRealtime({ url, key, settings });
for (const [kind, id] of Object.entries(devices)) void omni.choose(/** @type {any} */ (kind), id);

const captions = byId("captions", Captions);
const waves = byId("waves", Waves);
waves.source = () => ({ omni: omni.devices.speaker?.analyser, you: omni.devices.microphone?.analyser });

const notices = new Notices((action) => {
  if (action === "key") settingsPanel.open("key");
  else if (action === "camera") pictures.again();
  else if (action === "now") omni.hurry();
  else void omni.start(); // it opens what is not open yet
});
const talkBar = new TalkBar(omni);
const pictures = new Pictures(omni, (problem) => notices.show(problem));
const settingsPanel = new SettingsPanel(omni, () => waves.loudness(omni.devices.microphone?.analyser), () => talkBar.update());
setUpPanels(omni);

const on = (/** @type {string} */ type, /** @type {(detail: any) => void} */ take) =>
  omni.addEventListener(type, (event) => take(/** @type {CustomEvent} */ (event).detail));
on("items", () => {
  captions.show(omni.conversation.items);
  box("welcome").hidden = omni.conversation.items.length > 0;
});
on("problem", (problem) => notices.show(problem));
on("waiting", ({ problem, ms }) => notices.wait(problem, ms));
on("state", ({ state }) => {
  box("status").classList.remove("listener");
  if (state !== "connecting") notices.over("up");
  void keepAwake(state !== "off");
});
on("devices", () => {
  if (omni.devices.microphone) notices.over("microphone");
  if (omni.devices.camera) notices.over("camera");
});
on("session", ({ output_modalities }) => {
  captions.ariaLive = output_modalities.includes("audio") ? "off" : "polite"; // what is heard need not be read out
});
on("sound", () => notices.over("sound"));
on("listener", () => box("status").classList.toggle("listener", omni.state === "speaking"));

for (const idea of IDEAS) box("ideas").append(make("button", { type: "button", onclick: () => void omni.say(idea) }, idea));

// -- what the server's model can do

async function askServer() {
  const reply = await fetch(".", { headers: { accept: "application/json" } }).catch(() => null);
  if (!reply?.ok) return; // it is told when a connection is wanted
  /** @type {Server} */
  const { model, listens, sees } = await reply.json();
  if (model === null) return; // it is still loading
  write(box("model"), model);
  settingsPanel.learn(listens);
  for (const id of ["camera", "screen", "picture"]) {
    button(id).disabled = !sees;
    button(id).title = sees ? (button(id).ariaLabel ?? "") : "This server’s model can’t see";
  }
}

void askServer();
on("up", () => void askServer()); // it may be another one by now

// -- what browsers do to pages

/** @type {WakeLockSentinel | null} */
let lock = null;

/** A phone's screen stays on while one talks: a page that sleeps hears nothing. @param {boolean} on */
async function keepAwake(on) {
  if (!on) return lock?.release();
  if (document.visibilityState === "visible" && (!lock || lock.released)) lock = (await navigator.wakeLock?.request("screen").catch(() => null)) ?? null;
}

/** Browsers keep a page silent that nobody has clicked on, and phones one that was in the background. */
function checkSound() {
  void omni.devices.speaker?.resume();
  setTimeout(() => {
    if (omni.devices.speaker?.running === false) notices.show(new Problem("sound-blocked", "the audio context is suspended"));
  }, 1_000);
}

on("up", checkSound);
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden" || omni.state === "off") return;
  void keepAwake(true);
  checkSound();
});

addEventListener("pagehide", () => void omni.stop());
if (!isSecureContext) notices.show(new Problem("insecure", location.origin));
