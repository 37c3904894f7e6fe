/** <omni-waves>: both voices as they sound, Omni above the line and you below it; new sound comes in from the right. */

const BAR = 3; // px
const PITCH = 6; // px from bar to bar
const PER_S = 24; // bars
const QUIET_DB = -52; // what is drawn as nothing
const LOUD_DB = -8; // ... as all there is
const CALM_S = 0.25; // between pictures for whoever wants less motion

/** @typedef {{omni: number, you: number}} Bar heights, 0..1 */

const SILENT = { omni: 0, you: 0 };

export class Waves extends HTMLElement {
  #canvas = document.createElement("canvas");
  /** @type {Bar[]} newest first */
  #bars = [];
  #next = 0; // ms, when the bar that grows is finished
  #drawn = 0;
  #frame = 0;
  #calm = matchMedia("(prefers-reduced-motion: reduce)");
  #resized = new ResizeObserver(() => this.#fit());
  #wave = new Float32Array(1024);
  /** @type {() => {omni: AnalyserNode | null | undefined, you: AnalyserNode | null | undefined}} */
  source = () => ({ omni: null, you: null });

  connectedCallback() {
    this.append(this.#canvas);
    this.#resized.observe(this);
    this.#frame = requestAnimationFrame((now) => this.#turn(now));
  }

  disconnectedCallback() {
    this.#resized.disconnect();
    cancelAnimationFrame(this.#frame);
  }

  /** How loud it is now, 0..1. @param {AnalyserNode | null | undefined} analyser */
  loudness(analyser) {
    if (!analyser) return 0;
    const wave = this.#wave.subarray(0, analyser.fftSize);
    analyser.getFloatTimeDomainData(wave);
    let sum = 0;
    for (const sample of wave) sum += sample * sample;
    const db = 10 * Math.log10(sum / wave.length + 1e-12);
    return Math.max(0, Math.min(1, (db - QUIET_DB) / (LOUD_DB - QUIET_DB)));
  }

  /** @param {number} now ms */
  #turn(now) {
    this.#frame = requestAnimationFrame((later) => this.#turn(later));
    const { omni, you } = this.source();
    const loud = { omni: this.loudness(omni), you: this.loudness(you) };
    if (now - this.#next > 1_000) this.#next = now; // the page was hidden
    while (now >= this.#next) {
      this.#bars.unshift({ omni: 0, you: 0 });
      this.#next += 1000 / PER_S;
    }
    const bar = this.#bars[0];
    bar.omni = Math.max(bar.omni, loud.omni);
    bar.you = Math.max(bar.you, loud.you);
    this.#bars.length = Math.min(this.#bars.length, this.#count);
    if (this.#calm.matches && now - this.#drawn < CALM_S * 1000) return;
    this.#drawn = now;
    this.#draw(this.#calm.matches ? 0 : 1 - ((this.#next - now) * PER_S) / 1000, loud);
  }

  /** Bars that have a place. */
  get #count() {
    return Math.ceil(this.clientWidth / PITCH) + 1;
  }

  #fit() {
    this.#canvas.width = Math.round(this.clientWidth * devicePixelRatio);
    this.#canvas.height = Math.round(this.clientHeight * devicePixelRatio);
  }

  /** @param {number} grown how far the newest bar has come in, 0..1 @param {Bar} loud now */
  #draw(grown, loud) {
    const context = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d"));
    const style = getComputedStyle(this);
    const { clientWidth: width, clientHeight: height } = this;
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, width, height);
    const middle = height / 2;
    const most = middle - 4;
    const bars = Array.from({ length: this.#count }, (_, n) => (this.#calm.matches ? loud : (this.#bars[n] ?? SILENT)));
    for (const [voice, up] of /** @type {["omni" | "you", number][]} */ ([["omni", -1], ["you", 1]])) {
      context.fillStyle = style.getPropertyValue(`--${voice}`);
      bars.forEach((bar, n) => {
        const x = width - (n + grown) * PITCH;
        const tall = bar[voice] * most * fade(x / width);
        context.globalAlpha = tall > 0.5 ? 1 : 0.35;
        context.beginPath();
        context.roundRect(x, up < 0 ? middle - 1 - Math.max(1.5, tall) : middle + 1, BAR, Math.max(1.5, tall), 1.5);
        context.fill();
      });
    }
  }
}

/** Old sound sinks into the line at the left edge. @param {number} place 0..1 */
const fade = (place) => Math.min(1, Math.max(0, place) * 3);

customElements.define("omni-waves", Waves);
