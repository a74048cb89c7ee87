// Draws a dashboard from the JSON that Grafana is given, as far as subset.json
// says. It asks the queries of the panels as they stand there; nothing about an
// indicator is said here.
import { resource, type Provenance } from "./api";
import { bars, curve, series } from "./charts";
import { h } from "./dom";
import { fileURL, png, save } from "./export";
import { date, integer, moment, month } from "./format";
import { href, L, lang, param, theme } from "./i18n";
import { bind, open, unitName } from "./panel";

export interface Field {
  name: string; labels: Record<string, string>; values: unknown[];
  title: string; unit: string; decimals: number | undefined; target: number | undefined;
  /** Colours by the text of a cell. */
  colors: Map<string, string>;
}
export interface Frame { fields: Field[]; meta: Provenance | null; sql: string; notices: string[] }

export interface Query { refId: string; indicator?: string; queryType?: string; filter?: { units?: string[]; codes?: string[] }; [key: string]: unknown }
interface Override { matcher: { id: string; options: string }; properties: { id: string; value?: unknown }[] }
export interface Panel {
  id: number; type: string; title: string; description?: string; targets?: Query[];
  gridPos: { x: number; y: number; w: number; h: number }; links?: { title: string; url: string }[];
  options?: { [key: string]: unknown; legend?: { showLegend: boolean } };
  fieldConfig?: { defaults: { noValue?: string; color?: { mode: string } }; overrides: Override[] };
}
interface Variable {
  name: string; label: string; type: string; query: string | { values: string };
  current?: { value: string }; options?: { text: string; value: string }[];
}
interface Dashboard { uid: string; title: string; description: string; panels: Panel[]; templating: { list: Variable[] } }

const names: [string, string, string][] = [
  ["D01", "全国总览", "National overview"], ["D02", "规模与配备", "Size and staffing"], ["D03", "省际均衡", "Balance between provinces"],
  ["D04", "社会组织培育", "Social organisations"], ["D05", "政府购买服务", "Government purchase"], ["D06", "教育培训", "Training"],
  ["D07", "资格与学历", "Qualification and education"], ["D08", "职业保障与流动", "Pay, protection, turnover"], ["D09", "考核评估", "Evaluation"],
  ["D10", "示范创建", "Demonstration sites"], ["D11", "省份画像", "Province profile"], ["D12", "数据质量与报送", "Data quality and reporting"], ["WALL", "大屏", "Wall"], ["OPS", "流水线运行", "Running the pipeline"],
];

/** A menu of all dashboards. */
function menu(page: string): HTMLElement {
  const s = h("select", { class: "menu", "aria-label": L("看板", "dashboard"), onchange: (e: Event) => { location.href = href((e.target as HTMLSelectElement).value); } },
    names.map(([id, zh, en]) => h("option", { value: id, selected: id === page }, `${id} ${L(zh, en)}`)));
  return s;
}

type Scale = [by: number, unit: string, decimals: number | undefined];

// One scale for all values of a field, so that a column of amounts can be compared.
// In Chinese the datasource says 万元 and 亿元 itself.
const moneyScales: Scale[] = [[1e9, "bn yuan", 2], [1e6, "m yuan", 1], [1, "yuan", 0]];
const timeScales: Record<string, Scale[]> = {
  dtdhms: [[86400, L("天", "days"), 1], [3600, L("小时", "hours"), 1], [60, L("分钟", "min"), 0], [1, L("秒", "s"), 0]],
  [L("suffix:小时", "suffix:hours")]: [[24, L("天", "days"), 1], [1, L("小时", "hours"), 1]],
};
const money = "currency:¥";

function scaleOf(f: Field): Scale | null {
  const of = f.unit === money ? moneyScales : timeScales[f.unit];
  if (!of) return null;
  const sizes = f.values.flatMap((v) => (typeof v === "number" && v !== 0 ? [Math.abs(v)] : []));
  if (f.unit === money) {
    // The least amount must not become 0.00.
    const least = Math.min(...sizes);
    return of.find((s) => least >= s[0] / 10) ?? of[of.length - 1];
  }
  // Three days are 72 hours: a scale begins where its number says more.
  return of.find((s) => Math.max(0, ...sizes) >= s[0] * (s[1] === L("天", "days") ? 3 : 2)) ?? of[of.length - 1];
}

/** A number in the unit that is written beside it. */
export const scaled = (v: number, f: Field) => v / (scaleOf(f)?.[0] ?? 1);

/** A number as its field says, without the unit. */
export function number(v: number, f: Field): string {
  const s = scaleOf(f);
  const x = scaled(v, f);
  const places = s ? s[2] : f.decimals;
  const most = places ?? (Number.isInteger(x) || Math.abs(x) >= 100 ? 0 : 2);
  return new Intl.NumberFormat(lang === "zh" ? "zh-CN" : "en-GB", { minimumFractionDigits: s?.[0] === 1 ? 0 : Math.min(places ?? 0, most), maximumFractionDigits: most }).format(x);
}

/** A unit in words. */
export function unitOf(f: Field): string {
  return scaleOf(f)?.[1] ?? (f.unit === "percent" ? "%" : f.unit.startsWith("suffix:") ? f.unit.slice(7) : "");
}

export const full = (v: number, f: Field) => number(v, f) + (unitOf(f) === "%" ? "%" : unitOf(f) ? " " + unitOf(f) : "");

const day = (ms: number) => new Date(ms).toISOString().slice(0, 10);

async function ask(queries: Query[]): Promise<Map<string, Frame | string>> {
  const res = await fetch("/api/ds/query", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ queries }) });
  const out = new Map<string, Frame | string>();
  if (!res.ok) throw new TypeError(await res.text());
  type Wire = { error?: string; frames?: { schema: { fields: { name: string; labels?: Record<string, string>; config?: { displayNameFromDS?: string; unit?: string; decimals?: number; mappings?: { options: Record<string, { color?: string }> }[]; thresholds?: { steps: { value: number | null }[] } } }[]; meta?: { custom?: Provenance; executedQueryString?: string; notices?: { text: string }[] } }; data: { values: unknown[][] } }[] };
  const body = (await res.json()) as { results: Record<string, Wire> };
  for (const q of queries) {
    const r = body.results[q.refId];
    const f = r?.frames?.[0];
    if (!r || r.error || !f) { out.set(q.refId, r?.error ?? "no answer"); continue; }
    out.set(q.refId, {
      meta: f.schema.meta?.custom ?? null, sql: f.schema.meta?.executedQueryString ?? "", notices: (f.schema.meta?.notices ?? []).map((n) => n.text),
      fields: f.schema.fields.map((x, i) => ({
        name: x.name, labels: x.labels ?? {}, values: f.data.values[i] ?? [], title: x.config?.displayNameFromDS ?? x.name, unit: x.config?.unit ?? "",
        colors: new Map((x.config?.mappings ?? []).flatMap((m) => Object.entries(m.options).map(([k, o]) => [k, o.color ?? ""] as [string, string]))),
        // A list gives no form: its shares have two places, or their column would not line up.
        decimals: x.config?.decimals ?? (x.config?.unit === "percent" && f.data.values[i]?.some((v) => !Number.isInteger(v)) ? 2 : undefined),
        target: x.config?.thresholds?.steps.map((s) => s.value).filter((v): v is number => v !== null && v >= 0)[0],
      })),
    });
  }
  return out;
}

/** The state of a cell: why it holds no ordinary figure. */
function state(m: Provenance | null, at: number | undefined, unit: string, code: string): string {
  return m?.states[`${at === undefined ? m.asOf : day(at)}|${unit}|${code}`] ?? "";
}

/** What a table's cell says when it holds no number. */
const hole = (s: string, m: Provenance | null) => (s === "suppressed" && m?.format.kind === "integer" ? `<${m.suppressBelow}` : "—");

/** Whether a cell of a chart is not shown because of its few people. */
const hides = (f: Frame) => f.fields.some((x) => x.values.some((v, i) => v === null && ["suppressed", "protected"].includes(
  state(f.meta, find(f, "time")?.values[i] as number | undefined, x.labels.unit ?? (find(f, "unit")?.values[i] as string) ?? "", x.labels.code ?? (find(f, "code")?.values[i] as string) ?? ""))));

/** Why a column that others are compared with can be empty from top to bottom. */
const whyNone: Record<string, [string, string]> = {
  previous_month: ["没有该日的数据。", "there is no data of that day."], last_year: ["没有该日的数据。", "there is no data of that day."],
  first_published: ["该月尚未公布。", "nothing has been published for it."], national_mean: ["全国数尚未公布。", "no national figure has been published."],
};

const numeric = (f: Field) => f.name !== "time" && f.values.some((v) => typeof v === "number");
const find = (f: Frame, name: string) => f.fields.find((x) => x.name === name);

/** The override of a field, found as Grafana finds it: by name, or by a pattern over the title. */
function override(p: Panel, x: Field, id: string): unknown {
  const fits = (m: Override["matcher"]) => (m.id === "byName" ? m.options === x.title || m.options === x.name : new RegExp(m.options.replace(/^\/|\/$/g, "")).test(x.title));
  for (const o of p.fieldConfig?.overrides ?? []) if (fits(o.matcher)) for (const q of o.properties) if (q.id === id) return q.value;
  return undefined;
}

/** Where the data link of a cell leads; nothing where its province has no code. */
function follow(p: Panel, f: Frame, x: Field, row: number): string | null {
  const url = (override(p, x, "links") as { url: string }[] | undefined)?.[0].url;
  const to = url && /^\/d\/duiwu-(\w+)(?:-en)?\?var-(\w+)=\$\{__(?:data\.fields|field\.labels)\.(\w+)\}/.exec(url);
  if (!to) return null;
  const value = url.includes("__field.labels") ? x.labels[to[3]] : (find(f, to[3])?.values[row] as string | undefined);
  return value ? href(to[1].toUpperCase(), { ["var-" + to[2]]: value }) : null;
}

function stat(p: Panel, f: Frame, empty: string): HTMLElement {
  const times = find(f, "time")?.values as number[] | undefined;
  const shown = f.fields.filter((x) => x.name !== "time");
  const out = h("div", { class: "stats n" + Math.min(4, shown.length) });
  for (const x of shown) {
    const at = x.values.findLastIndex((v) => v !== null && v !== undefined);
    const last = at < 0 ? null : (x.values[at] as number);
    const first = x.values.find((v) => v !== null) as number | null | undefined;
    const unit = x.labels.unit ?? "", code = x.labels.code ?? "";
    const s = state(f.meta, times?.[times.length - 1], unit, code);
    const held = p.options?.colorMode === "value";
    const late = x.target !== undefined && last !== null && held && f.meta ? (f.meta.direction === "down" ? last > x.target : last < x.target) : false;
    const box = h("div", { class: "stat" + (late ? " worse" : ""), role: "group" },
      shown.length > 1 ? h("p", { class: "label" }, x.labels.compare ? x.title.split(" · ").pop()! : x.title) : null,
      h("p", { class: "big" }, h("span", { class: "digits" }, last === null ? (s ? hole(s, f.meta) : empty) : number(last, x)), h("span", { class: "unit" }, last === null || shown.length > 1 && unitOf(x) !== "%" ? "" : unitOf(x))),
      held && x.target !== undefined ? h("p", { class: "delta goal" }, L("目标 ", "target "), h("b", {}, number(x.target, { ...x, values: [x.target], decimals: Number.isInteger(x.target) ? 0 : x.decimals }) + (unitOf(x) === "%" ? "%" : "")),
        f.meta?.targets[0]?.verified === false ? L("（未经核实）", " (unverified)") : "") : null,
      p.options?.showPercentChange && last !== null && first && times && times.length > 1
        ? h("p", { class: "delta" }, L(`较${month(day(times[x.values.indexOf(first)]))} `, `since ${month(day(times[x.values.indexOf(first)]))} `), h("b", {}, `${last >= first ? "+" : "−"}${number(Math.abs((100 * (last - first)) / first), { ...x, unit: "percent", decimals: 1 })}%`)) : null);
    if (f.meta && !x.labels.compare) bind(box, { meta: f.meta, sql: f.sql, unit, code, codeName: x.labels.code_name ?? "", value: last, state: (last === null ? s || "none" : s === "late" ? s : "") as "" });
    out.append(box);
    if (p.options?.graphMode === "area" && times && shown.length === 1) {
      const g = h("div", { class: "mini", "aria-hidden": "true" });
      requestAnimationFrame(() => series(g, times, shown, { small: true }));
      out.append(g);
    }
  }
  return out;
}

function table(p: Panel, f: Frame, empty: string): HTMLElement {
  const n = f.fields[0]?.values.length ?? 0;
  if (n === 0) return h("p", { class: "none-yet" }, empty);
  const shown = f.fields.filter((x) => !override(p, x, "custom.hidden"));
  const units = find(f, "unit")?.values as string[] | undefined;
  const times = find(f, "time")?.values as number[] | undefined;
  const figures = shown.filter(numeric);
  const unit = commonUnit(p, f);
  const most = new Map(figures.map((x) => [x, Math.max(...(x.values as (number | null)[]).map((v) => Math.abs(v ?? 0)))]));
  // A cross table reads as a picture: its cells are shaded by one scale.
  const cross = p.targets?.[0].format === "pivot" && figures.length > 3;
  const top = Math.max(1e-9, ...figures.map((x) => most.get(x) ?? 0));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": p.title }, h("table", { class: cross ? "cross" + (figures.length > 12 ? " wide" : "") : "" },
    h("thead", {}, h("tr", {}, shown.map((x) => h("th", { scope: "col", class: numeric(x) || whyNone[x.name] ? "num" : "" }, x.name === "time" ? L("日期", "date") : x.title + (numeric(x) && unitOf(x) && !unit && !cross ? L(`（${unitOf(x)}）`, ` (${unitOf(x)})`) : ""))))),
    h("tbody", {}, Array.from({ length: n }, (_, i) => h("tr", {}, shown.map((x) => {
      const v = x.values[i];
      const unit = units?.[i] ?? "";
      if (x.name === "time") return h("td", {}, f.meta ? date(day(v as number)) : moment(new Date(v as number).toISOString()));
      if (!numeric(x) && typeof v === "string") {
        const to = follow(p, f, x, i);
        return h(cross ? "th" : "td", { class: x.name === "unit_name" ? "name" : null, title: v.length > 40 ? v : null, scope: cross ? "row" : null }, to ? h("a", { class: "drill", href: to }, v) : v || "—");
      }
      const s = f.meta ? state(f.meta, times?.[i], unit, ["value", "numerator", "denominator"].includes(x.name) ? "" : x.name) : "";
      if (v === null || v === undefined || typeof v !== "number") return h("td", { class: "num soft", "data-hidden": s === "suppressed" || s === "protected" ? "" : null }, f.meta && x.name !== "rank" ? hole(s, f.meta) : "—");
      const td = h("td", { class: "num" + (s === "late" ? " lately" : "") }, number(v, x));
      if (cross && !v) td.classList.add("soft");
      if (cross && v) td.style.setProperty("--share", String(Math.round((60 * Math.abs(v)) / top)) + "%");
      return td;
    }))))));
}

/** The unit that all figures of a panel have, so that it is said once. */
function commonUnit(p: Panel, f: Frame): string {
  if (isTiles(p)) return f.meta && f.meta.format.kind !== "percent" ? (lang === "zh" ? f.meta.unit.zh : f.meta.unit.en) : p.targets?.[0].list === "last_day" ? L("条", "records") : "";
  const units = new Set(f.fields.filter((x) => numeric(x) && x.name !== "rank" && !override(p, x, "custom.hidden")).map(unitOf));
  return f.meta && units.size === 1 ? [...units][0] : "";
}

/** What is said of a panel beside the definition: which way to read it. */
const notes = (p: Panel) => (p.type === "stat" ? [] : (p.description ?? "").split("\n\n").filter((s) => s && !s.startsWith("**")));

/** The nation as tiles: a name of one character above a figure, coloured by the frame. */
function tileGrid(p: Panel, f: Frame): HTMLElement {
  const columns = f.fields.filter((x) => /^c\d$/.test(x.name));
  const rows = f.fields[0].values.length;
  const grid = h("div", { class: "mosaic", role: "list", "aria-label": p.title, style: { "--columns": String(columns.length), "--rows": String(rows) } });
  for (let i = 0; i < rows; i++) columns.forEach((x, k) => {
    const text = x.values[i] as string;
    if (!text) return;
    const color = x.colors.get(text) ?? "";
    const [mark, figure = ""] = text.replace("◷", "").split(" ");
    const late = text.endsWith("◷"), to = follow(p, f, x, i), unit = find(f, "u" + (k + 1))?.values[i] as string;
    const inside = [h("b", {}, mark), h("span", {}, figure || L("不报送", "n/a")), late ? h("i", { "aria-hidden": "true" }, "◷") : null];
    const says = `${unit ? unitName(unit) : mark} ${figure || L("不在报送范围", "does not report")}${late ? L("，本期未到，显示最近一次的数值", ", the last month has not arrived; its last value") : ""}`;
    grid.append(h("div", { role: "listitem", class: !figure ? "outside" : late ? "late" : "", "data-unit": unit || null, style: { "grid-row": String(i + 1), "grid-column": String(k + 1), background: color, color: dark(color) ? "#fff" : "#081424" } },
      to && !document.body.dataset.wall ? h("a", { href: to, title: says, "aria-label": says }, inside) : inside));
  });
  return grid;
}

/** Whether white reads better on a colour than ink does. */
function dark(color: string): boolean {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16) / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b < 0.19;
}

/** Units by months, shaded from the least to the most. */
function heat(p: Panel, f: Frame): HTMLElement {
  const times = find(f, "time")!.values as number[];
  const rows = f.fields.filter((x) => x.name !== "time");
  const all = rows.flatMap((x) => x.values).filter((v): v is number => typeof v === "number").sort((a, b) => a - b);
  const cuts = [1, 2, 3, 4].map((i) => all[Math.min(all.length - 1, Math.floor((i * all.length) / 5))]);
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": p.title }, h("table", { class: "heat" },
    h("thead", {}, h("tr", {}, h("th", {}, ""), times.map((t) => h("th", { scope: "col" }, day(t).slice(0, 7))))),
    h("tbody", {}, rows.map((x) => h("tr", {},
      h("th", { scope: "row" }, follow(p, f, x, 0) ? h("a", { class: "drill", href: follow(p, f, x, 0) }, x.title) : x.title),
      times.map((t, i) => {
        const v = x.values[i] as number | null;
        return v === null ? h("td", { class: "gap" }, hole(state(f.meta, t, x.labels.unit ?? "", x.labels.code ?? ""), f.meta)) : h("td", { class: "c" + cuts.filter((c) => v > c).length }, number(v, x));
      }))))));
}

/** On a wall nothing scrolls: the rows that find no room are counted. */
function fit(region: HTMLElement) {
  const rows = [...region.querySelectorAll<HTMLElement>("tbody tr")];
  let left = 0;
  const note = h("p", { class: "soft more" });
  while (region.scrollHeight > region.clientHeight + 1 && rows.length > 1) {
    rows.pop()!.remove();
    note.textContent = L(`另有 ${++left} 行`, `and ${left} more`);
    if (left === 1) region.append(note);
  }
}

/** What scrolls ends with a whole row: half of one looks like a fault. */
function whole(region: HTMLElement) {
  region.style.maxHeight = "";
  if (region.scrollHeight <= region.clientHeight + 1) return;
  const top = region.getBoundingClientRect().top, room = top + region.clientHeight;
  const last = [...region.querySelectorAll("tr")].findLast((tr) => tr.getBoundingClientRect().bottom <= room + 1);
  if (last) region.style.maxHeight = `${Math.ceil(last.getBoundingClientRect().bottom - top) + region.offsetHeight - region.clientHeight}px`;
}
addEventListener("resize", () => document.querySelectorAll<HTMLElement>(".board-card .scroll").forEach((x) => { if (!document.body.dataset.wall) whole(x); }));

const isTiles = (p: Panel) => p.targets?.[0].format === "tiles";
const isLive = (p: Panel) => liveLists.includes((p.targets?.[0].list as string) ?? "");
// What Grafana hears on a channel is asked again here, at the channel's beat.
const liveLists = ["rate", "rate_nation", "age", "age_nation"];
const liveEvery = 10_000;

function body(p: Panel, f: Frame | string): HTMLElement {
  if (typeof f === "string") return h("p", { class: "none-yet" }, f);
  const empty = p.fieldConfig?.defaults.noValue ?? "—";
  const rows = f.fields[0]?.values.length ?? 0;
  if (rows === 0 || (p.type !== "table" && p.type !== "stat" && !f.fields.some(numeric))) return h("p", { class: "none-yet" }, empty);
  const legend = !!p.options?.legend?.showLegend;
  const el = h("div", { class: "plot" });
  if (isTiles(p)) return tileGrid(p, f);
  switch (p.type) {
    case "stat": return stat(p, f, empty);
    case "table": {
      const t = table(p, f, empty);
      requestAnimationFrame(() => document.body.dataset.wall ? fit(t) : whole(t));
      return t;
    }
    case "state-timeline": return heat(p, f);
    case "timeseries":
      requestAnimationFrame(() => series(el, find(f, "time")!.values as number[], f.fields.filter((x) => x.name !== "time"), { legend }));
      return el;
    case "barchart":
      requestAnimationFrame(() => bars(el, f, { horizontal: p.options?.orientation === "horizontal", stacked: p.options?.stacking === "normal", legend, link: (row) => follow(p, f, f.fields.find(numeric)!, row), hidden: (x) => !!(override(p, x, "custom.hideFrom") as { viz?: boolean } | undefined)?.viz }));
      return el;
    case "xychart":
      requestAnimationFrame(() => curve(el, f));
      return el;
  }
  throw new Error(`the viewer draws no ${p.type}`);
}

/** What can be done with a panel: read it as a table, take it away as a file. */
function tools(p: Panel, query: Query, card: HTMLElement, f: Frame): HTMLElement {
  const charted = ["timeseries", "barchart", "xychart"].includes(p.type);
  const menu = h("details", { class: "tools" }, h("summary", { "aria-label": L(`${p.title}：表格与下载`, `${p.title}: table and downloads`) }, "⋯"));
  const list = h("div", { class: "tool-list" },
    charted ? h("button", { class: "plain", "aria-pressed": "false", onclick: (e: Event) => {
      const on = card.classList.toggle("as-table");
      (e.currentTarget as HTMLElement).setAttribute("aria-pressed", String(on));
      (e.currentTarget as HTMLElement).textContent = on ? L("看图", "as a chart") : L("看表格", "as a table");
      card.querySelector(".body")!.replaceChildren(on ? table({ ...p, type: "table" }, f, "—") : body(p, f));
      menu.removeAttribute("open");
    } }, L("看表格", "as a table")) : null,
    h("a", { href: fileURL("csv", p.title, query), download: "" }, "CSV"),
    h("a", { href: fileURL("xlsx", p.title, query), download: "" }, "Excel"),
    isTiles(p) ? null : h("button", { class: "plain", "data-png": "", onclick: async () => { menu.removeAttribute("open"); save(await png(card, p.title, f), `${p.title.replace(/[\\/:*?"<>|？]/g, "")}.png`); } }, L("图片", "PNG")));
  menu.append(list);
  menu.addEventListener("keydown", (e) => { if (e.key === "Escape") { menu.removeAttribute("open"); menu.querySelector("summary")!.focus(); } });
  menu.addEventListener("focusout", (e) => { if (!menu.contains(e.relatedTarget as Node)) menu.removeAttribute("open"); });
  return menu;
}

function cardOf(p: Panel, query: Query | undefined, f: Frame | string, style: Record<string, string>): HTMLElement {
  const meta = typeof f === "string" ? null : f.meta;
  const source = meta && typeof f !== "string"
    ? h("button", { class: "plain info", "aria-label": L(`${p.title}：这些数字从哪里来`, `${p.title}: where these figures come from`), title: [...f.notices].join("\n"), onclick: () => {
      const x = f.fields.find((y) => numeric(y));
      open({ meta, sql: f.sql, unit: x?.labels.unit ?? "", code: "", codeName: "", value: p.type === "stat" ? ((x?.values.findLast((v) => v !== null) as number) ?? null) : null, state: "" });
    } }, "ⓘ") : null;
  // An axis has no room for its unit, and figures side by side need it once.
  const figures = typeof f === "string" ? [] : f.fields.filter(numeric);
  const drawn = typeof f === "string" || p.type === "xychart" || p.type === "stat" && (figures.length < 2 || unitOf(figures[0]) === "%") ? ""
    : ["timeseries", "barchart"].includes(p.type) && figures.length ? unitOf(figures[0]) : commonUnit(p, f);
  const said = notes(p);
  const drawnBody = body(p, f);
  if (meta && typeof f !== "string" && ["table", "barchart"].includes(p.type) && !isTiles(p)) {
    if (drawnBody.querySelector(".lately")) said.push(L("◦ 本期未到，为最近一次的数值。", "◦ the last month has not come; its last value."));
    if (drawnBody.querySelector("[data-hidden]") || p.type === "barchart" && hides(f)) said.push(L(`人数不足 ${meta.suppressBelow} 人等不宜公开的数，以“—”或“<${meta.suppressBelow}”代替。`, `A dash or <${meta.suppressBelow} stands for what is too small to be shown.`));
    const bare = p.type === "table" ? f.fields.filter((x) => whyNone[x.name] && !(x.name === "first_published" && notes(p).length) && !override(p, x, "custom.hidden") && x.values.length > 0 && x.values.every((v) => v === null)) : [];
    for (const why of new Set(bare.map((x) => L(...whyNone[x.name])))) said.push(`${bare.filter((x) => L(...whyNone[x.name]) === why).map((x) => x.title).join(L("、", ", "))}${L("：", ": ")}${why}`);
  }
  if (meta?.stale) said.push(L("有新数据到达，正在计算；所示为此前的结果。", "Newer data is being computed; the result before it is shown."));
  const card = h("section", { class: `card board-card ${isTiles(p) ? "tiles-card" : p.type}`, style, "data-panel": String(p.id) },
    h("header", {}, h("h3", {}, p.title), h("p", { class: "sub" }, meta && !document.body.dataset.wall ? h("span", {}, lang === "zh" ? meta.zh : meta.en) : null, drawn ? h("b", {}, drawn) : null), source), h("div", { class: "body" }, drawnBody), said.length ? h("p", { class: "hint" }, said.join(" ")) : null);
  if (query && typeof f !== "string") card.querySelector("header")!.append(tools(p, query, card, f));
  return card;
}

/** Asks the live panels of a page anew and draws them in their places. */
let beat: ReturnType<typeof setInterval> | undefined;
function listen(panels: Panel[], queries: Query[]) {
  clearInterval(beat);
  const live = panels.filter(isLive);
  if (!live.length) return;
  beat = setInterval(async () => {
    if (document.hidden) return;
    const answers = await ask(queries.filter((q) => live.some((p) => q.refId === "p" + p.id))).catch(() => null);
    for (const p of answers ? live : []) {
      const f = answers!.get("p" + p.id);
      const old = document.querySelector(`[data-panel="${p.id}"] .body`);
      if (f && old && !old.closest(".as-table")) old.replaceChildren(body(p, f));
    }
  }, liveEvery);
}

/** The line that says how far the figures can be trusted. */
function footer(metas: Provenance[], drawn: string): HTMLElement {
  const newest = metas.map((m) => m.dataAsOf ?? "").sort().at(-1);
  const late = [...new Set(metas.flatMap((m) => m.unitsMissing.map((x) => x.unit)))].sort();
  const m = metas[0];
  return h("footer", { class: "page-foot" },
    h("p", {}, h("b", {}, L("数据截至 ", "Data as of ")), newest ? moment(newest) : "—", h("span", { class: "sep" }),
      h("b", {}, L("统计日 ", "Day ")), date(m.asOf), h("span", { class: "sep" }),
      L(`${m.units} 个报送单位，${m.units - late.length} 个各期已齐`, `${m.units - late.length} of ${m.units} units complete`), h("span", { class: "sep" }),
      h("span", { class: late.length ? "missing" : "", "data-missing": late.join(",") },
        late.length ? L("未到齐：", "Late: ") + late.slice(0, 8).map(unitName).join(L("、", ", ")) + (late.length > 8 ? L(` 等 ${late.length} 个`, ` and ${late.length - 8} more`) : "") : L("无缺报", "nobody is late"))),
    h("p", { class: "soft" }, drawn, h("span", { class: "sep" }), L("指标为暂行定义，点击数字看来源", "Definitions are provisional; click a figure for its source")));
}

/** Prints the page or saves it as PDF, on a lying or a standing sheet. */
function printer(): HTMLElement {
  return h("select", { class: "print", "aria-label": L("打印或存为 PDF", "print or save as PDF"), onchange: (e: Event) => {
    const s = e.target as HTMLSelectElement;
    document.documentElement.dataset.paper = s.value;
    s.value = "";
    print();
  } }, h("option", { value: "", selected: true }, L("打印", "Print")), h("option", { value: "landscape" }, L("A4 横向", "A4 landscape")), h("option", { value: "portrait" }, L("A4 纵向", "A4 portrait")));
}

export async function board(today: string, id: string): Promise<HTMLElement> {
  const res = await fetch(`/api/dashboards/${lang}/${id}`);
  if (!res.ok) throw new TypeError(res.statusText);
  const d = (await res.json()) as Dashboard;
  const values: Record<string, string> = {}, texts: Record<string, string> = {};
  const keep = () => Object.fromEntries(Object.entries(values).map(([k, v]) => ["var-" + k, v]));
  const controls: HTMLElement[] = [];
  for (const v of d.templating.list) {
    if (v.type === "datasource") continue;
    const options = v.type === "query"
      ? (await resource<{ code: string; zh: string; en: string }[]>(`options?values=${(v.query as { values: string }).values}`)).map((o) => ({ text: lang === "zh" ? o.zh : o.en, value: o.code }))
      : (v.options ?? []);
    const asked = param("var-" + v.name) ?? v.current?.value;
    const chosen = options.find((o) => o.value === asked) ?? options[0];
    values[v.name] = chosen?.value ?? "";
    texts[v.name] = chosen?.text ?? "";
    controls.push(h("select", { "aria-label": v.label, onchange: (e: Event) => { location.href = href(id, { ...keep(), ["var-" + v.name]: (e.target as HTMLSelectElement).value }); } },
      options.map((o) => h("option", { value: o.value, selected: o.value === values[v.name] }, o.text))));
  }
  const fill = (s: string) => s.replace(/\$\{(\w+)(:text)?\}/g, (all, name: string, text?: string) => (text ? texts : values)[name] ?? all);
  const queries = d.panels.flatMap((p) => (p.targets ?? []).map((q) => ({ ...(JSON.parse(fill(JSON.stringify(q))) as Query), refId: "p" + p.id })));
  const answers = await ask(queries);
  // The letters come in pieces, as characters ask for them, and charts measure
  // what they write once: all have to be here first.
  const letters = JSON.stringify(d) + [...answers.values()].map((f) => (typeof f === "string" ? "" : JSON.stringify(f.fields))).join("");
  await document.fonts.load('1em "Noto Sans SC Variable"', [...new Set(letters)].join("")).catch(() => []);
  if (id === "WALL") document.body.dataset.wall = "1";
  const cards: HTMLElement[] = [];
  const metas: Provenance[] = [];
  for (const p of d.panels) {
    p.title = fill(p.title);
    const { x, y, w: wide, h: tall } = p.gridPos;
    // On paper rows are as tall as what is in them: a panel beside several rows
    // has to know of how many.
    const beside = new Set(d.panels.map((q) => q.gridPos.y).filter((v) => v >= y && v < y + tall)).size;
    const at = { "grid-column": `${x + 1} / span ${wide}`, "grid-row": `${y + 1} / span ${tall}`, "--beside": String(beside), "--tall": String(tall) };
    if (p.type === "row") { cards.push(h("h2", { class: "row-title", style: at }, p.title)); continue; }
    const f = answers.get("p" + p.id) ?? "no answer";
    if (typeof f !== "string" && f.meta) metas.push(f.meta);
    cards.push(cardOf(p, queries.find((q) => q.refId === "p" + p.id), f, at));
  }
  listen(d.panels, queries);
  document.title = `${d.title} · ${L("禁毒社会工作者队伍", "Anti-drug social workers")}`;
  const other = lang === "zh" ? "en" : "zh", dark = theme === "dark" ? "light" : "dark";
  const wall = id === "WALL";
  return h("div", { class: "board" + (wall ? " wall" : "") },
    h("header", { class: "page-head" }, h("div", { class: "titles" }, h("p", { class: "kicker" }, wall ? L("全国禁毒社会工作者队伍建设", "Anti-drug social workers") : d.title), h("h1", {}, d.description)),
      h("nav", {}, ...controls, menu(id),
        h("a", { href: href(id, { ...keep(), lang: other }), lang: other === "zh" ? "zh-Hans" : "en" }, other === "zh" ? "中文" : "English"),
        wall ? null : printer(),
        wall ? null : h("a", { href: href(id, { ...keep(), theme: dark }) }, dark === "dark" ? L("深色", "Dark") : L("浅色", "Light")),
        h("time", { datetime: today }, date(today)))),
    h("main", {}, cards),
    metas.length ? footer(metas, wall ? "" : L(`本页由演示查看器按 Grafana 看板文件绘制（${integer(cards.length)} 个面板），不是 Grafana 本身的渲染`, "Drawn by the viewer from Grafana's dashboard file; not Grafana's own rendering")) : "");
}
