import { lang } from "./i18n";

export interface Text { zh: string; en: string }
export interface Target { id: string; value: number; unit: Text; source: Text; status: Text; verified: boolean }
export interface Missing { unit: string; feed: string; expected: string; last: string }

/** Where a figure comes from; the plugin sends it with every frame. */
export interface Provenance {
  id: string; zh: string; en: string; version: number; validFrom: string;
  definition: Text; numerator: Text; denominator: Text; unit: Text; direction: "up" | "down" | "none";
  categories: string[]; categoryZh: string[] | null; categoryEn: string[] | null;
  format: { kind: string; decimals: number };
  targets: Target[]; feeds: string[]; asOf: string; computedAt: string; dataAsOf: string | null;
  ledger: { topics: number; offset: number; arrivedAt: string } | null;
  sourceRows: number; unitsIncluded: string[]; unitsMissing: Missing[]; units: number;
  provisional: boolean; suppressed: number; suppressBelow: number; stale: boolean; states: Record<string, string>; tookMs: number;
}

export interface Unit { code: string; shortZh: string; en: string }

export class QueryError extends Error {}

export async function resource<T>(path: string): Promise<T> {
  const res = await fetch("/api/ds/resources/" + path);
  const body = await res.json();
  if (!res.ok) throw new QueryError(body[lang] ?? res.statusText);
  return body as T;
}

export const health = async () =>
  (await (await fetch("/api/ds/health")).json()) as { status: string; message: string; details: { zh?: string; en?: string } };
