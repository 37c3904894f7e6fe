/** The settings: kept in this browser, shown in a dialog, told to the conversation. */

import { DEFAULTS, Devices } from "../realtime/index.js";
import { box, button, byId, make, write } from "./dom.js";

/** @typedef {import("../realtime/index.js").OmniRealtime} OmniRealtime */
/** @typedef {import("../realtime/settings.js").Settings} Settings */
/** @typedef {{microphone: string, speaker: string, camera: string}} Chosen */

const STORE = "omni-settings";
const KEY = "omni-key";
const KINDS = /** @type {const} */ (["microphone", "speaker", "camera"]);
const RADIOS = /** @type {const} */ (["turns", "interruption", "ending", "answers"]);

/**
 * What was chosen last time.
 * @returns {{settings: Partial<Settings>, devices: Partial<Chosen>, key: string}}
 */
export function readSettings() {
  const { settings = {}, devices = {} } = read();
  const known = Object.fromEntries(Object.entries(settings).filter(([name]) => name in DEFAULTS));
  return { settings: known, devices, key: sessionStorage.getItem(KEY) ?? "" };
}

/** @returns {any} */
function read() {
  try {
    return JSON.parse(localStorage.getItem(STORE) ?? "{}");
  } catch {
    return {}; // not ours, or cut off
  }
}

export class SettingsPanel {
  #omni;
  #dialog = byId("settings", HTMLDialogElement);
  #silence = byId("silence", HTMLInputElement);
  #eagerness = byId("eagerness", HTMLSelectElement);
  #key = byId("key", HTMLInputElement);
  #meter;
  #changed;
  #metering = 0;

  /** @param {OmniRealtime} omni @param {() => number} level of the microphone, 0..1 @param {() => void} changed */
  constructor(omni, level, changed) {
    this.#omni = omni;
    this.#changed = changed;
    this.#meter = () => (byId("level", HTMLMeterElement).value = level());
    button("settings-button").addEventListener("click", () => this.open());
    this.#dialog.addEventListener("input", ({ target }) => this.#take(/** @type {HTMLInputElement} */ (target)));
    this.#dialog.addEventListener("click", (event) => event.target === this.#dialog && this.#dialog.close()); // on the backdrop
    this.#dialog.addEventListener("close", () => clearInterval(this.#metering));
    this.#key.addEventListener("change", () => this.#takeKey());
    for (const kind of KINDS) byId(`device-${kind}`, HTMLSelectElement).addEventListener("change", () => void this.#choose(kind));
    omni.addEventListener("devices", () => void this.#list());
    this.#show();
  }

  /** Whether the model hears the command to stop: where it does, that alone interrupts, unless something else was chosen. @param {boolean} listens */
  learn(listens) {
    const command = /** @type {HTMLInputElement} */ (this.#dialog.querySelector("[value=command]"));
    command.disabled = !listens;
    write(box("command-hint"), listens ? "Other sounds don’t disturb it. Works on a loudspeaker." : "This server’s model was not trained to hear it.");
    const interruption = listens ? (read().settings?.interruption ?? "command") : "voice";
    if (interruption !== this.#omni.settings.interruption) this.#omni.configure({ interruption });
    this.#show();
    this.#changed();
  }

  /** @param {string} [focus] the id of what is asked for */
  open(focus) {
    this.#show();
    void this.#list();
    this.#dialog.showModal();
    if (focus) box(focus).focus();
    this.#metering = setInterval(this.#meter, 100);
  }

  #show() {
    const { settings, options } = this.#omni;
    for (const name of RADIOS) {
      for (const radio of this.#radios(name)) radio.checked = radio.value === settings[name];
    }
    this.#silence.value = String(settings.silenceMs);
    this.#eagerness.value = settings.eagerness;
    this.#key.value = options.key ?? "";
    this.#follow();
  }

  /** What belongs to a choice that is not made is out of reach. */
  #follow() {
    const { turns, ending, silenceMs } = this.#omni.settings;
    for (const set of this.#dialog.querySelectorAll(".open-only")) /** @type {HTMLFieldSetElement} */ (set).disabled = turns === "push";
    this.#silence.disabled = ending !== "silence";
    this.#eagerness.disabled = ending !== "meaning";
    write(box("silence-shown"), `${(silenceMs / 1000).toFixed(2)} s`);
  }

  /** @param {HTMLInputElement} control what was changed: only that is kept, so that the rest may have better defaults one day */
  #take({ name, value, valueAsNumber }) {
    if (!(name in DEFAULTS)) return;
    const changed = { [name]: name === "silenceMs" ? valueAsNumber : value };
    this.#omni.configure(changed);
    this.#follow();
    this.#store({ settings: { ...read().settings, ...changed } });
    this.#changed();
  }

  #takeKey() {
    this.#omni.options.key = this.#key.value.trim();
    sessionStorage.setItem(KEY, this.#omni.options.key);
  }

  /** @param {typeof KINDS[number]} kind */
  async #choose(kind) {
    const id = byId(`device-${kind}`, HTMLSelectElement).value;
    this.#store({ devices: { ...read().devices, [kind]: id } });
    await this.#omni.choose(kind, id);
  }

  /** @param {object} part */
  #store(part) {
    try {
      localStorage.setItem(STORE, JSON.stringify({ ...read(), ...part }));
    } catch {
      // a browser that keeps nothing: the choice holds until the page is closed
    }
  }

  /** @param {string} name */
  #radios(name) {
    return /** @type {HTMLInputElement[]} */ ([...this.#dialog.querySelectorAll(`input[name=${name}]`)]);
  }

  async #list() {
    const found = await Devices.list();
    for (const kind of KINDS) {
      const select = byId(`device-${kind}`, HTMLSelectElement);
      const options = found[kind].map(({ id, name }, n) => make("option", { value: id }, name || `${kind} ${n + 1}`));
      select.replaceChildren(make("option", { value: "" }, "The usual one"), ...options.filter((option) => option.value !== "default"));
      select.value = read().devices?.[kind] ?? "";
      if (select.selectedIndex < 0) select.value = "";
      select.disabled = !options.length;
    }
  }
}
