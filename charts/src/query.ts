// The rules of a query that need no component: what it may ask, and how it reads.
import type { Compare, DuiwuQuery, Editor, Format, Indicator, Lang, Text } from "./types";

export const defaultQuery: Partial<DuiwuQuery> = { indicator: "I-01", groupBy: ["month"], format: "series" };

export const has = (q: DuiwuQuery, group: string) => (q.groupBy ?? []).includes(group);

/** The dimension of groupBy, or "". */
export const dimension = (q: DuiwuQuery) => (q.groupBy ?? []).find((g) => g !== "month" && g !== "province") ?? "";

const isVariable = (s: string | undefined) => !!s && /^\$|^\[\[/.test(s);

/** The forms that a grouping can have, the most useful one first. */
export function formatsOf(q: DuiwuQuery): Format[] {
  const month = has(q, "month"), province = has(q, "province"), dim = dimension(q) !== "";
  const groups = Number(month) + Number(province) + Number(dim);
  const out: Format[] = month ? ["series", "table"] : groups ? ["table", "numeric"] : ["numeric"];
  if (groups === 2) out.push("pivot");
  if (province && groups === 1) out.push("tiles");
  return out;
}

/** The comparisons that mean something for a query. */
export function comparesOf(q: DuiwuQuery, i: Indicator | undefined): Compare[] {
  const out: Compare[] = [];
  if (has(q, "county")) return out;
  // A line of months already shows last month and last year.
  if (!has(q, "month") && !i?.nowOnly) out.push("previous_month", "last_year");
  if (!i || i.goals.length) out.push("target");
  if (has(q, "province")) out.push("national_mean");
  if (has(q, "province") && !has(q, "month")) out.push("rank");
  if (!i?.nowOnly && q.edition !== "first") out.push("first_published");
  return out;
}

/**
 * Takes out of a query what the backend would refuse, as when another indicator
 * is chosen, and leaves empty parts out. An indicator that a variable names may be
 * any: only what no indicator can do is taken out.
 */
export function tidy(q: DuiwuQuery, editor: Editor | undefined): DuiwuQuery {
  const { filter, groupBy, compare, format, sort, limit, column, ...rest } = q;
  const out: DuiwuQuery = rest;
  for (const k of ["asOf", "knownOn", "edition", "from", "to", "list", "events"] as const) if (!out[k]) delete out[k];
  // What is published rests on what was known then.
  if (out.edition) delete out.knownOn;
  if (q.queryType) {
    delete out.indicator;
    delete out.edition;
    if (filter?.units?.length) out.filter = { units: filter.units };
    return out;
  }
  delete out.list;
  delete out.events;
  const i = isVariable(q.indicator) ? undefined : editor?.indicators.find((x) => x.id === q.indicator);
  let groups = groupBy ?? [];
  if (i) {
    const dims = i.groups.map((g) => g.code);
    groups = groups.filter((g) => (g === "month" ? !i.nowOnly : g === "province" ? !i.nationOnly : dims.includes(g)));
  }
  if (groups.includes("county")) groups = groups.filter((g) => g !== "province"); // they are those of one
  if (groups.length) out.groupBy = groups;
  const codes = dimension(out) ? (filter?.codes ?? []).filter((c) => isVariable(c) || !i || i.groups.find((g) => g.code === dimension(out))?.codes.some((x) => x.code === c)) : [];
  if (filter?.units?.length || codes.length) {
    out.filter = { ...(filter?.units?.length ? { units: filter.units } : {}), ...(codes.length ? { codes } : {}) };
  }
  if (i?.nowOnly) for (const k of ["asOf", "from", "to"] as const) delete out[k];
  if (!has(out, "month")) { delete out.from; delete out.to; }
  const allowed = comparesOf(out, i);
  const kept = (compare ?? []).filter((c) => allowed.includes(c));
  if (kept.length) out.compare = kept;
  const possible = formatsOf(out);
  out.format = format && (possible.includes(format) || format === "lorenz") ? format : possible[0];
  if (column && !(column === "denominator" && i && !i.denominator.zh)) out.column = column;
  if (sort && (out.format === "table" || out.format === "pivot")) out.sort = sort;
  if (limit && out.sort && out.format === "table") out.limit = limit;
  return out;
}

export const pick = (t: Text | undefined, lang: Lang) => (t ? (lang === "zh" ? t.zh : t.en) || t.zh : "");

/** A query in a sentence, for screen readers and for the collapsed row. */
export function describe(q: DuiwuQuery, e: Editor | undefined, lang: Lang): string {
  if (q.queryType === "list") return pick(e?.lists.find((l) => l.id === q.list), lang) || q.list || "";
  if (q.queryType === "events") return q.events ?? "";
  const i = e?.indicators.find((x) => x.id === q.indicator);
  const parts = [i ? `${i.id} ${pick(i, lang)}` : q.indicator ?? ""];
  const words = lang === "zh" ? { month: "按月", province: "按省" } : { month: "by month", province: "by province" };
  for (const g of q.groupBy ?? []) parts.push(words[g as "month"] ?? pick(i?.groups.find((x) => x.code === g), lang) ?? g);
  if (q.edition) parts.push(pick(e?.editions.find((x) => x.code === q.edition), lang) || q.edition);
  return parts.join(" · ");
}
