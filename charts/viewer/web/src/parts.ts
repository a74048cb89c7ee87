// What both pages are built from.
import type { Answer, Provenance, Row, Unit } from "./api";
import { menu } from "./board";
import { lines } from "./charts";
import { h } from "./dom";
import { date, figure, moment, short, signed } from "./format";
import { href, L, lang, pick, theme } from "./i18n";
import { bind, cellText, unitName } from "./panel";

export const byUnit = (a: Answer) => new Map(a.rows.map((r) => [r.unit, r]));
export const first = (a: Answer) => a.rows[0];

/** A titled card. The title says what is found or asked, never a table's name. */
export function card(cls: string, title: string, sub: string | Node | null, ...body: (Node | null)[]) {
  return h("section", { class: "card " + cls }, h("header", {}, h("h2", {}, title), sub ? h("p", { class: "sub" }, sub) : null), ...body);
}

/** A big number with its unit; it explains itself on hover and click. */
export function big(a: Answer, r: Row, cls = "") {
  const f = figure(r.value, a.meta);
  return bind(h("div", { class: "big " + cls },
    h("span", { class: "digits" }, r.state === "suppressed" ? cellText(r, a.meta) : f.text), h("span", { class: "unit" }, f.unit)), a, r);
}

/** Change against another figure, worded and coloured by what is better. */
export function delta(a: Answer, r: Row, other: number | null | undefined, zh: string, en: string) {
  if (r.value === null || other === null || other === undefined) return h("span", { class: "delta" }, L(zh + " 无", en + " —"));
  const d = r.value - other;
  const good = a.meta.direction === "none" || !/[1-9]/.test(signed(d, a.meta)) ? "" : (d > 0) === (a.meta.direction === "up") ? "better" : "worse";
  return h("span", { class: "delta " + good }, L(zh, en), " ", h("b", {}, signed(d, a.meta)),
    a.meta.format.kind === "percent" ? L(" 个百分点", " points") : "");
}

/** Twelve months as a small line. */
export function spark(a: Answer, cls = "spark", axis = false) {
  const el = h("div", { class: cls });
  queueMicrotask(() => lines(el, [{ name: pick(a.meta), answer: a, rows: a.rows, color: "--accent" }], { axis }));
  return el;
}

const steps = 5;

/** Cuts values into five classes of equal size, for the colour of a tile. */
function classes(values: number[]): number[] {
  const v = [...values].sort((a, b) => a - b);
  return Array.from({ length: steps - 1 }, (_, i) => v[Math.min(v.length - 1, Math.floor(((i + 1) * v.length) / steps))]);
}

/** The shortest name of a unit that everybody reads: 沪, or SH. */
export const mark = (u: Unit) => (lang === "zh" ? u.abbr : u.iso.slice(3) || "XP"); // XP: the Corps has no ISO code

/** The 34-unit tile grid; the Corps has a tile of its own when it reports. */
export function tiles(a: Answer, units: Unit[], opts: { link: (code: string) => string; chosen?: string }) {
  const rows = byUnit(a);
  const values = units.map((u) => rows.get(u.code)?.value).filter((v): v is number => v !== null && v !== undefined);
  const cuts = classes(values);
  const grid = h("div", { class: "tiles", role: "list", "aria-label": pick(a.meta) });
  for (const u of units) {
    const at = { "grid-row": String(u.row), "grid-column": String(u.col) };
    if (!u.reports) {
      if (u.code === "660000") continue;
      grid.append(h("div", { class: "tile outside", role: "listitem", style: at, title: L(u.shortZh + "：不在报送范围", u.en + ": not a reporting unit") },
        h("b", {}, mark(u)), h("span", {}, L("不报送", "n/a"))));
      continue;
    }
    const r = rows.get(u.code);
    const v = r?.value ?? null;
    const cls = v === null ? "none" : "c" + cuts.filter((c) => v >= c).length;
    const t = h("a", {
      class: `tile ${cls} ${r?.state ?? ""} ${opts.chosen === u.code ? "chosen" : ""}`, role: "listitem", href: opts.link(u.code), style: at,
    }, h("b", {}, mark(u)), h("span", {}, r ? (r.state === "suppressed" ? cellText(r, a.meta) : figure(v, a.meta).text) : "—"));
    if (r) bind(t, a, r, { quiet: true });
    grid.append(t);
  }
  const f = (v: number) => short(v, a.meta);
  const lo = Math.min(...values), hi = Math.max(...values);
  const edges = [lo, ...cuts, hi];
  const legend = h("div", { class: "legend" },
    h("span", { class: "legend-unit" }, figure(lo, a.meta).unit),
    ...Array.from({ length: steps }, (_, i) => h("span", { class: "key" }, h("i", { class: "c" + i }), values.length ? `${f(edges[i])}–${f(edges[i + 1])}` : "")),
    h("span", { class: "key" }, h("i", { class: "late" }), L("本期未到", "late")),
    h("span", { class: "key" }, h("i", { class: "outside" }), L("不在报送范围", "not reporting")));
  return [grid, legend];
}

/** Provinces in order of a figure, with the nation's as a line across. */
export function ranking(a: Answer, nation: Row, link: (code: string) => string, beside?: (code: string) => Node) {
  const rows = a.rows.filter((r) => r.unit).sort((x, y) => (y.value ?? -1) - (x.value ?? -1));
  const max = Math.max(...rows.map((r) => r.value ?? 0), nation.value ?? 0) * 1.02 || 1;
  const share = (v: number | null) => `${(100 * (v ?? 0)) / max}%`;
  const list = h("ol", { class: "ranking", style: { "--mean": share(nation.value) } });
  rows.forEach((r) => {
    const row = h("a", { href: link(r.unit), class: `rank-row ${r.state}` },
      h("span", { class: "n" }, r.rank == null ? "" : String(r.rank)), h("span", { class: "who" }, unitName(r.unit)),
      h("span", { class: "track" }, h("i", { style: { width: share(r.value) } })), h("span", { class: "v" }, cellText(r, a.meta)));
    bind(row, a, r, { quiet: true });
    list.append(h("li", {}, row, beside ? beside(r.unit) : null));
  });
  return [list, h("p", { class: "mean-note" }, h("i", {}), L("全国 ", "nation "), h("b", {}, short(nation.value, a.meta)), " " + figure(nation.value, a.meta).unit)];
}

/** The line that says how far the figures can be trusted. */
export function footer(metas: Provenance[], quality: string) {
  const newest = metas.map((m) => m.dataAsOf ?? "").sort().at(-1);
  const late = new Map<string, Set<string>>();
  for (const m of metas) for (const x of m.unitsMissing) late.set(x.unit, (late.get(x.unit) ?? new Set()).add(x.feed));
  const m = metas[0];
  const names = [...late.keys()].sort().map(unitName);
  return h("footer", { class: "page-foot" },
    h("p", {}, h("b", {}, L("数据截至 ", "Data as of ")), newest ? moment(newest) : "—", h("span", { class: "sep" }),
      h("b", {}, L("统计日 ", "Day ")), date(m.asOf), h("span", { class: "sep" }),
      L(`${m.units} 个报送单位，${m.units - late.size} 个各期已齐`, `${m.units - late.size} of ${m.units} units complete`), h("span", { class: "sep" }),
      h("span", { class: late.size ? "missing" : "", "data-missing": [...late.keys()].sort().join(",") },
        late.size ? L("未到齐：", "Late: ") + names.slice(0, 8).join(L("、", ", ")) + (names.length > 8 ? L(` 等 ${names.length} 个`, ` and ${names.length - 8} more`) : "") : L("无缺报", "nobody is late"))),
    h("p", { class: "soft" }, quality, h("span", { class: "sep" }), L("指标为暂行定义，点击数字看来源", "Definitions are provisional; click a figure for its source")));
}

/** Prints the page or saves it as PDF, on a lying or a standing sheet. */
export function printer(): HTMLElement {
  return h("select", { class: "print", "aria-label": L("打印或存为 PDF", "print or save as PDF"), onchange: (e: Event) => {
    const s = e.target as HTMLSelectElement;
    document.documentElement.dataset.paper = s.value;
    s.value = "";
    print();
  } }, h("option", { value: "", selected: true }, L("打印", "Print")), h("option", { value: "landscape" }, L("A4 横向", "A4 landscape")), h("option", { value: "portrait" }, L("A4 纵向", "A4 portrait")));
}

/** The page's head: what is found, where one can go, language and theme. */
export function head(page: "D01" | "D11", kicker: string, title: Node | string, today: string, ...extra: Node[]) {
  const other = lang === "zh" ? "en" : "zh", dark = theme === "dark" ? "light" : "dark";
  return h("header", { class: "page-head" },
    h("div", { class: "titles" }, h("p", { class: "kicker" }, kicker), h("h1", {}, title)),
    h("nav", {}, ...extra, menu(page),
      h("a", { href: href(page, { lang: other }), lang: other === "zh" ? "zh-Hans" : "en" }, other === "zh" ? "中文" : "English"),
      h("a", { href: href(page, { theme: dark }) }, dark === "dark" ? L("深色", "Dark") : L("浅色", "Light")),
      h("time", { datetime: today }, date(today))));
}

/** Contract amounts by mode of purchase: a bar of two parts. */
export function modeBar(rows: Row[], a: Answer, cls = "") {
  const of = (code: string) => rows.find((r) => r.code === code);
  const p = of("1"), o = of("2");
  const bar = h("div", { class: "mode " + cls });
  for (const [r, c] of [[p, "project"], [o, "post"]] as const) {
    if (r && r.value) bar.append(bind(h("i", { class: c, style: { "flex-grow": String(r.value) } }), a, r, { quiet: true }));
  }
  if (!bar.childElementCount) bar.append(h("span", { class: "soft" }, L("无合同", "no contract")));
  return bar;
}
