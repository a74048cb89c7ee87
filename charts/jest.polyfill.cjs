// What browsers have and jsdom lacks.
const util = require("node:util");
Object.assign(globalThis, { TextEncoder: util.TextEncoder, TextDecoder: util.TextDecoder });
globalThis.matchMedia ??= (media) => ({ media, matches: false, addListener() {}, removeListener() {}, addEventListener() {}, removeEventListener() {}, dispatchEvent: () => false });
globalThis.ResizeObserver ??= class { observe() {} unobserve() {} disconnect() {} };
globalThis.IntersectionObserver ??= class { observe() {} unobserve() {} disconnect() {} takeRecords() { return []; } };
// A canvas that measures: the combobox sizes its menu by the width of its text.
HTMLCanvasElement.prototype.getContext = () => ({ measureText: (s) => ({ width: 8 * s.length }) });
// A list in a menu is drawn as far as it is seen, and jsdom sees nothing.
HTMLElement.prototype.getBoundingClientRect = () => ({ width: 400, height: 800, top: 0, left: 0, bottom: 800, right: 400, x: 0, y: 0, toJSON() {} });
for (const [name, size] of [["offsetHeight", 800], ["offsetWidth", 400], ["clientHeight", 800], ["clientWidth", 400]]) Object.defineProperty(HTMLElement.prototype, name, { configurable: true, get: () => size });
// Icons are fetched from Grafana's server, and i18next advertises.
const quiet = /not wrapped in act|ReactInlineSVG|made possible by/;
for (const kind of ["error", "info", "warn"]) {
  const say = console[kind];
  console[kind] = (...all) => quiet.test(String(all[0])) || say(...all);
}
