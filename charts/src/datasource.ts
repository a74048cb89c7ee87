import { CustomVariableSupport, type DataQueryRequest, type DataQueryResponse, type DataSourceInstanceSettings, type MetricFindValue, type ScopedVars } from "@grafana/data";
import { DataSourceWithBackend, getTemplateSrv } from "@grafana/runtime";
import { from, type Observable } from "rxjs";
import { AnnotationEditor } from "./components/AnnotationEditor";
import { VariableEditor } from "./components/VariableEditor";
import { language } from "./i18n";
import { translated } from "./lazy";
import { defaultQuery, pick } from "./query";
import type { Code, DuiwuOptions, DuiwuQuery, DuiwuVariableQuery, Editor } from "./types";

export class DuiwuDataSource extends DataSourceWithBackend<DuiwuQuery, DuiwuOptions> {
  private editing?: Promise<Editor>;

  constructor(settings: DataSourceInstanceSettings<DuiwuOptions>) {
    super(settings);
    this.variables = new DuiwuVariables(this);
    this.annotations = { QueryEditor: translated(AnnotationEditor), getDefaultQuery: () => ({ queryType: "events", events: "incidents" }) };
  }

  /** What the editors offer. One question serves all editors of a page. */
  editor(): Promise<Editor> {
    this.editing ??= (this.getResource("editor") as Promise<Editor>).catch((e: unknown) => {
      this.editing = undefined; // the next editor may try again
      throw e;
    });
    return this.editing;
  }

  definitionURL(indicator: string): string {
    return `/api/datasources/uid/${encodeURIComponent(this.uid)}/resources/definition?indicator=${encodeURIComponent(indicator)}&lang=${language()}`;
  }

  override getDefaultQuery(): Partial<DuiwuQuery> { return defaultQuery; }

  override filterQuery(q: DuiwuQuery): boolean {
    if (q.hide) return false;
    return q.queryType === "list" ? !!q.list : q.queryType === "events" ? !!q.events : !!q.indicator;
  }

  override applyTemplateVariables(q: DuiwuQuery, scoped: ScopedVars): DuiwuQuery {
    const srv = getTemplateSrv();
    const one = (s?: string) => (s ? srv.replace(s, scoped) : s);
    // A variable of many values becomes many values; "all" is no restriction.
    const many = (list?: string[]) => list?.flatMap((s) => srv.replace(s, scoped, "csv").split(",")).filter((s) => s && s !== "$__all");
    const out: DuiwuQuery = { ...q, lang: q.lang ?? language() };
    for (const k of ["indicator", "asOf", "knownOn", "from", "to"] as const) if (q[k]) out[k] = one(q[k]);
    if (q.groupBy) out.groupBy = many(q.groupBy);
    if (q.filter) out.filter = { units: many(q.filter.units) ?? [], codes: many(q.filter.codes) ?? [] };
    return out;
  }

  async options(values: string, lang = language()): Promise<MetricFindValue[]> {
    const codes: Code[] = await this.getResource("options", { values });
    return codes.map((c) => ({ text: pick(c, lang), value: c.code }));
  }

  override metricFindQuery(query: DuiwuVariableQuery | string): Promise<MetricFindValue[]> {
    return typeof query === "string" ? this.options(query || "province") : this.options(query.values ?? "province", query.lang);
  }
}

export class DuiwuVariables extends CustomVariableSupport<DuiwuDataSource, DuiwuVariableQuery> {
  editor = translated(VariableEditor);

  constructor(private readonly ds: DuiwuDataSource) { super(); }

  query = (request: DataQueryRequest<DuiwuVariableQuery>): Observable<DataQueryResponse> =>
    from(this.ds.metricFindQuery(request.targets[0]).then((data) => ({ data })));
}
