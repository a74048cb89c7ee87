// Elements, words and the two settings of a reader. Text is never parsed as
// HTML.

/** Makes an element; attributes that are null or false are left out. */
export function h(tag, attrs = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attrs)) {
    if (v === null || v === undefined || v === false) continue;
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else if (k === "style") for (const [p, x] of Object.entries(v)) e.style.setProperty(p, x);
    else e.setAttribute(k, v === true ? "" : String(v));
  }
  const put = (c) => {
    if (Array.isArray(c)) c.forEach(put);
    else if (c !== null && c !== undefined && c !== false) e.append(c instanceof Node ? c : String(c));
  };
  children.forEach(put);
  return e;
}

const params = new URLSearchParams(location.search);
const setting = (name, words, otherwise) => {
  for (const v of [params.get(name), localStorage.getItem("duiwu-" + name)]) if (words.includes(v)) return v;
  return otherwise;
};

export const settings = {
  lang: setting("lang", ["zh", "en"], "zh"),
  theme: setting("theme", ["light", "dark"], matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"),
};

export function set(name, value) {
  settings[name] = value;
  localStorage.setItem("duiwu-" + name, value);
  apply();
}

export function apply() {
  document.documentElement.lang = settings.lang === "zh" ? "zh-Hans" : "en";
  document.documentElement.dataset.theme = settings.theme;
  document.title = L("数据报送 · 禁毒社会工作者队伍", "Data reporting · anti-drug social work force");
}

/** Both texts stand side by side, so that one is never changed without the other. */
export const L = (zh, en) => (settings.lang === "zh" ? zh : en);
/** Picks prefix_zh or prefix_en, or zh or en. */
export const pick = (o, prefix = "") => o[(prefix ? prefix + "_" : "") + settings.lang];

export const count = (n) => n.toLocaleString("en-US");
export const moment = (t) => new Date(t).toLocaleString(settings.lang === "zh" ? "zh-CN" : "en-GB",
  { timeZone: "Asia/Shanghai", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hour12: false });

/** A due time; the midnight that ends a day is written as that day. */
export function due(t) {
  const d = new Date(t), ends = (d.getTime() + 8 * 3600_000) % 86_400_000 === 0;
  if (!ends) return L(`${moment(t)} 前`, `by ${moment(t)}`);
  const day = new Date(d.getTime() - 1).toLocaleDateString(settings.lang === "zh" ? "zh-CN" : "en-GB", { timeZone: "Asia/Shanghai", year: "numeric", month: "2-digit", day: "2-digit" });
  return L(`${day} 当日内`, `by the end of ${day}`);
}

/** Tells a screen reader what changed. */
export const tell = (text) => { document.getElementById("live").textContent = text; };
