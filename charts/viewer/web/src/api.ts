import { lang } from "./i18n";

export interface Text { zh: string; en: string }
export interface Target { id: string; value: number; unit: string; due: string; source: string; status: string; verified: boolean }
export interface Missing { unit: string; feed: string; expected: string; last: string }

/** Where a figure comes from; the plugin sends it with every frame. */
export interface Provenance {
  id: string; zh: string; en: string; frame: string; version: number; validFrom: string; approval: string;
  definition: Text; numerator: Text; denominator: Text; unit: Text; direction: "up" | "down" | "none";
  update: string; categories: string[]; categoryZh: string[] | null; categoryEn: string[] | null;
  format: { kind: string; decimals: number; parts?: string };
  targets: Target[]; feeds: string[]; asOf: string; computedAt: string; dataAsOf: string | null; arrivedAt: string | null;
  ledger: { topics: number; offset: number; arrivedAt: string } | null;
  sourceRows: number; unitsIncluded: string[]; unitsMissing: Missing[]; units: number;
  provisional: boolean; suppressed: number; suppressBelow: number; states: Record<string, string>; tookMs: number; empty: boolean;
}

export interface Row {
  time?: number; unit: string; code: string; codeName: string;
  value: number | null; numerator: number | null; denominator: number | null;
  previous_month?: number | null; last_year?: number | null; target?: number | null; national_mean?: number | null; rank?: number | null;
  state: "" | "late" | "none" | "suppressed";
}

/** One answered query. */
export interface Answer { rows: Row[]; meta: Provenance; sql: string }

export interface Unit { code: string; zh: string; shortZh: string; abbr: string; en: string; iso: string; region: string; type: string; reports: boolean; row: number; col: number }

export interface Query {
  indicator: string; groupBy?: string[]; filter?: { units?: string[]; codes?: string[] }; compare?: string[];
}

interface Frame {
  schema: { fields: { name: string }[]; meta: { custom: Provenance; executedQueryString: string } };
  data: { values: unknown[][]; entities?: ({ NaN?: number[] } | null)[] };
}

export class QueryError extends Error {}

const day = (ms: number) => new Date(ms).toISOString().slice(0, 10);

/** Asks several queries at once, as a Grafana page would. */
export async function ask<K extends string>(queries: Record<K, Query>): Promise<Record<K, Answer>> {
  const body = { queries: Object.entries<Query>(queries).map(([refId, q]) => ({ refId, lang, ...q })) };
  const res = await fetch("/api/ds/query", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  if (!res.ok) throw new QueryError(await res.text());
  const out = (await res.json()) as { results: Record<string, { error?: string; frames?: Frame[] }> };
  const answers = {} as Record<K, Answer>;
  for (const key of Object.keys(queries) as K[]) {
    const r = out.results[key];
    if (!r || r.error || !r.frames?.length) throw new QueryError(r?.error ?? `no answer to ${key}`);
    answers[key] = read(r.frames[0]);
  }
  return answers;
}

function read(f: Frame): Answer {
  const at = new Map(f.schema.fields.map((x, i) => [x.name, i]));
  const meta = f.schema.meta.custom;
  const col = (name: string, row: number) => (at.has(name) ? f.data.values[at.get(name)!][row] : undefined);
  const rows: Row[] = [];
  const n = f.data.values[0]?.length ?? 0;
  for (let i = 0; i < n; i++) {
    const time = col("time", i) as number | undefined;
    const unit = (col("unit", i) as string) ?? "";
    const code = (col("code", i) as string) ?? "";
    const num = (name: string) => (col(name, i) as number | null | undefined);
    rows.push({
      time, unit, code, codeName: (col("code_name", i) as string) ?? "",
      value: num("value") ?? null, numerator: num("numerator") ?? null, denominator: num("denominator") ?? null,
      previous_month: num("previous_month"), last_year: num("last_year"), target: num("target"),
      national_mean: num("national_mean"), rank: num("rank"),
      state: (meta.states[`${time === undefined ? meta.asOf : day(time)}|${unit}|${code}`] ?? "") as Row["state"],
    });
  }
  return { rows, meta, sql: f.schema.meta.executedQueryString };
}

export async function resource<T>(path: string): Promise<T> {
  const res = await fetch("/api/ds/resources/" + path);
  const body = await res.json();
  if (!res.ok) throw new QueryError(body[lang] ?? res.statusText);
  return body as T;
}

export const health = async () =>
  (await (await fetch("/api/ds/health")).json()) as { status: string; message: string; details: { zh?: string; en?: string } };
