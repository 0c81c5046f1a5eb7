// Asks for what changed, once a second while the page is looked at. Where a server has several workers, any of them may
// answer, so a page has a place in the changes of each.

const PAUSE = 1000;
const PAUSE_AFTER_FAILURE = 3000;

export class Feed {
  constructor({ several, changed, state }) {
    this.workers = new Map(); // by the name of the worker: its last answer
    this.several = several;
    this.paused = false;
    this._places = new Map();
    this._changed = changed;
    this._state = state;
    document.addEventListener("visibilitychange", () => this._ask());
  }

  start() {
    this._ask();
  }

  pause(paused) {
    this.paused = paused;
    this._ask();
  }

  async _ask() {
    clearTimeout(this._timer);
    if (this._asking) return;
    if (this.paused || document.hidden) return this._state("paused");
    this._asking = true;
    let pause = PAUSE;
    try {
      const after = new URLSearchParams([...this._places].map(([worker, change]) => ["after", `${worker}.${change}`]));
      const response = await fetch(`changes.json?${after}`, { cache: "no-store" });
      if (!response.ok) throw new Error((await response.json()).detail);
      this._take(await response.json());
      this._state("live");
    } catch (error) {
      pause = PAUSE_AFTER_FAILURE;
      this._state("lost", error instanceof TypeError ? "no answer, asking again" : error.message);
    } finally {
      this._asking = false;
    }
    if (this.paused || document.hidden) this._state("paused");
    else this._timer = setTimeout(() => this._ask(), pause);
  }

  _take(answer) {
    const isNew = !this.workers.has(answer.worker);
    const restarted = isNew && this.workers.size > 0 && !this.several;
    if (restarted) {
      this.workers.clear();
      this._places.clear();
    }
    this._places.set(answer.worker, answer.change);
    this.workers.set(answer.worker, { ...this.workers.get(answer.worker), ...answer, records: [] });
    this._changed(answer, { isNew, restarted });
  }
}
