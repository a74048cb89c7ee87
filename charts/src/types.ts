import type { DataSourceJsonData } from "@grafana/data";
import type { DataQuery } from "@grafana/schema";

export const compares = ["previous_month", "last_year", "target", "national_mean", "rank", "first_published"] as const;
export const editions = ["live", "first", "latest", "approved"] as const;
/** The end of the last month that is over, in place of a day. */
export const lastMonth = "last_month";
export const formats = ["series", "numeric", "table", "pivot", "lorenz", "tiles"] as const;
export type Compare = (typeof compares)[number];
export type Edition = (typeof editions)[number];
export type Format = (typeof formats)[number];
export type Lang = "zh" | "en";

/**
 * A query as it is saved in a dashboard. It is the JSON that plugin.Model in
 * charts/pkg/plugin reads; testdata/queries.json is read by the tests of both.
 */
export interface DuiwuQuery extends DataQuery {
  /** Absent for an indicator. */
  queryType?: "list" | "events";
  indicator?: string;
  groupBy?: string[];
  filter?: { units?: string[]; codes?: string[] };
  /** A day, or lastMonth; empty means the end of the dashboard's range. */
  asOf?: string;
  /** A day: records that arrived later do not count. */
  knownOn?: string;
  /** Waits for the newest data, where else the result before it would be shown while it is computed. */
  fresh?: boolean;
  /** Figures as published; absent for live ones. */
  edition?: Exclude<Edition, "live">;
  /** Months; empty means the dashboard's range. */
  from?: string;
  to?: string;
  compare?: Compare[];
  lang?: Lang;
  format?: Format;
  column?: "value" | "numerator" | "denominator";
  sort?: "asc" | "desc";
  /** Keeps the first lines of a sorted table. */
  limit?: number;
  list?: string;
  events?: "policies" | "incidents";
}

/** What a variable lists: province, indicator, or a dimension. */
export interface DuiwuVariableQuery extends DataQuery {
  values?: string;
  lang?: Lang;
}

/** What may be seen: "nation", "none", a unit's code or a list of them. */
export type Reach = string | string[];

/** Who may see which units; scope.Policy in charts/pkg/scope reads it. */
export interface ScopePolicy {
  users?: Record<string, Reach>;
  teams?: Record<string, { logins: string[]; units: Reach }>;
  orgs?: Record<string, Reach>;
  alerts?: Reach;
  public?: Reach;
  default?: Reach;
  /** Whether who sees the nation sees below the province too. */
  counties?: boolean;
}

export interface DuiwuOptions extends DataSourceJsonData {
  /** Absent: nobody sees anything. */
  scope?: ScopePolicy;
  database?: string;
  user?: string;
  today?: string;
  suppressBelow?: number;
  /** Seconds for which a figure may be shown after newer data has come. */
  staleSeconds?: number;
  /** Find what the shipped dashboards ask for before they are opened; yes unless false. */
  lookAhead?: boolean;
  tlsSkipVerify?: boolean;
}

export interface DuiwuSecrets {
  password?: string;
  tlsCACert?: string;
}

export interface Text { zh: string; en: string }
export interface Code extends Text { code: string }

export interface Indicator extends Text {
  id: string;
  frame: string;
  version: number;
  approval: string;
  definition: Text;
  numerator: Text;
  denominator: Text;
  unit: Text;
  state: Text;
  groups: Array<Code & { codes: Code[] }>;
  nowOnly: boolean;
  nationOnly: boolean;
  goals: Array<{ id: string; value: number; unit: Text; verified: boolean }>;
}

export interface List extends Text { id: string; about: Text }

/** The answer of the resource «editor». */
export interface Editor {
  today: string;
  indicators: Indicator[];
  units: Code[];
  lists: List[];
  compare: Code[];
  editions: Code[];
}
