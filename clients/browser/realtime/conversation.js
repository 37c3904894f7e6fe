/**
 * What was said, as far as this side knows: items in order, made from the server's events alone.
 *
 * Of an answer that was cut short, `text` is all of it and `heard` the part that the server keeps; what is between them was never heard.
 */

const MOST_ITEMS = 1_000; // older ones are forgotten, as is their picture
const RESTORED = 20; // items that a new connection is told: more than any model remembers

/** @typedef {import("./wire.js").WireEvent} WireEvent */
/**
 * @typedef {object} Item
 * @property {string} id
 * @property {"user" | "assistant" | "note"} role
 * @property {string} text of a note: "stopped" | "reconnected" | "forgotten"
 * @property {string | null} heard of an answer that was cut short; null: it was not, or that is not known yet
 * @property {boolean} spoken by voice
 * @property {boolean} open more of it may come
 * @property {string | null} picture a data URL
 * @property {string | null} failure why there is no more of it
 */

export class Conversation {
  /** @type {Item[]} oldest first */
  items = [];
  /** @type {string | null} speech that has ended, and may turn out to be no turn */
  #unsure = null;
  #notes = 0;

  /** @param {string} id */
  find(id) {
    return this.items.findLast((item) => item.id === id);
  }

  /**
   * Take in what the server says.
   * @param {WireEvent} event
   * @returns {boolean} whether anything of it can be seen
   */
  apply(event) {
    const dropped = this.#dropUnlessCommitted(event);
    return this.#apply(event) || dropped;
  }

  /** @param {WireEvent} event */
  #apply(event) {
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        return this.#add({ id: event.item_id, role: "user", spoken: true, open: true });
      case "input_audio_buffer.speech_stopped":
        this.#unsure = event.item_id;
        return false;
      case "conversation.item.added":
        return this.#added(event.item);
      case "conversation.item.input_audio_transcription.delta":
        return this.#edit(event.item_id, (item) => (item.text += event.delta));
      case "conversation.item.input_audio_transcription.completed":
        return this.#edit(event.item_id, (item) => Object.assign(item, { text: event.transcript, open: false }));
      case "conversation.item.input_audio_transcription.failed":
        return this.#edit(event.item_id, (item) => (item.open = false));
      case "response.output_audio_transcript.delta":
      case "response.output_text.delta":
        return this.#edit(event.item_id, (item) => (item.text += event.delta));
      case "response.output_item.done":
        return this.#edit(event.item.id, (item) => (item.open = false));
      case "response.done":
        return this.#failed(event.response);
      case "conversation.item.retrieved":
        return this.#retrieved(event.item);
      case "conversation.item.deleted":
        return this.#remove(event.item_id);
      default:
        return false;
    }
  }

  /** The user's own words or picture, before the server has them. @param {{id: string, text?: string, picture?: string}} item */
  say(item) {
    this.#add({ role: "user", ...item });
  }

  /** Something happened that is no item. @param {"stopped" | "reconnected" | "forgotten"} what */
  note(what) {
    this.#add({ id: `note-${++this.#notes}`, role: "note", text: what });
  }

  /** The connection is gone: nothing that is open will go on. */
  breakOff() {
    this.items = this.items.filter((item) => !(item.open && item.role === "user" && !item.text));
    for (const item of this.items) item.open = false;
    this.#unsure = null;
  }

  /** What a new connection is told, so that the model knows what was said before. @returns {WireEvent[]} */
  restoration() {
    const told = this.items.filter(({ role, text, heard }) => role !== "note" && (heard ?? text).trim());
    return told.slice(-RESTORED).map(({ id, role, text, heard }) => ({
      type: "conversation.item.create",
      item: { id, type: "message", role, content: [{ type: role === "user" ? "input_text" : "output_text", text: heard ?? text }] },
    }));
  }

  /** All of it, to be kept as a text. */
  transcript() {
    const lines = this.items.filter(({ role }) => role !== "note").map(({ role, text, heard, spoken, picture }) => {
      const words = heard === null ? text : `${heard} [not heard: ${text.slice(heard.length).trim()}]`;
      return `${role === "user" ? "You" : "Omni"}: ${words.trim() || (picture ? "[a picture]" : spoken ? "[spoken]" : "")}`;
    });
    return lines.join("\n");
  }

  /** @param {Partial<Item> & {id: string, role: Item["role"]}} item */
  #add(item) {
    this.items.push({ text: "", heard: null, spoken: false, open: false, picture: null, failure: null, ...item });
    if (this.items.length > MOST_ITEMS) this.items.shift();
    return true;
  }

  /** @param {string} id @param {(item: Item) => void} change */
  #edit(id, change) {
    const item = this.find(id);
    if (item) change(item);
    return item !== undefined;
  }

  /** @param {string} id */
  #remove(id) {
    const before = this.items.length;
    this.items = this.items.filter((item) => item.id !== id);
    return this.items.length < before;
  }

  /** @param {any} item of the wire */
  #added(item) {
    if (this.find(item.id) || item.type !== "message" || item.role === "system") return false;
    const parts = /** @type {any[]} */ (item.content);
    const spoken = item.role === "assistant" || parts.some((part) => part.type === "input_audio");
    return this.#add({ id: item.id, role: item.role, spoken, open: spoken, text: parts.map((part) => part.text ?? part.transcript ?? "").join(" ") });
  }

  /** Of an answer that was cut the server keeps the words that were heard. @param {any} item of the wire */
  #retrieved(item) {
    const kept = item.content?.[0]?.transcript;
    const mine = this.find(item.id);
    if (item.role !== "assistant" || kept === undefined || !mine?.text.startsWith(kept)) return false;
    mine.heard = kept.trim() === mine.text.trim() ? null : kept;
    return true;
  }

  /** @param {any} response of the wire */
  #failed(response) {
    const message = response.status === "failed" && (response.status_details?.error?.message ?? "the answer failed");
    return message ? this.#edit(response.output[0]?.id, (item) => (item.failure = message)) : false;
  }

  /** Speech that ended without becoming an item was the command to stop, or nothing. @param {WireEvent} event the one after it */
  #dropUnlessCommitted(event) {
    const id = this.#unsure;
    if (id === null) return false;
    this.#unsure = null;
    return event.type === "input_audio_buffer.committed" && event.item_id === id ? false : this.#remove(id);
  }
}
