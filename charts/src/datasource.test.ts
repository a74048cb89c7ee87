import { setTemplateSrv } from "@grafana/runtime";
import { firstValueFrom } from "rxjs";
import { DuiwuDataSource } from "./datasource";
import type { DuiwuQuery } from "./types";

const ds = () => new DuiwuDataSource({ uid: "duiwu", id: 1, type: "duiwu-datasource", name: "duiwu", jsonData: {}, meta: {} } as never);

beforeAll(() => {
  const values: Record<string, string[]> = { province: ["310000", "320000"], all: ["$__all"], indicator: ["I-10"] };
  setTemplateSrv({
    replace: (s: string, _: unknown, format?: string) => (s ?? "").replace(/\$\{(\w+)\}/g, (_m, name: string) => values[name].join(format === "csv" ? "," : "|")),
    getVariables: () => [], containsTemplate: () => false, updateTimeRange: () => undefined,
  } as never);
});

test("a query that asks nothing is not sent", () => {
  const f = (q: Partial<DuiwuQuery>, want: boolean) => expect(ds().filterQuery({ refId: "A", ...q })).toBe(want);
  f({}, false);
  f({ indicator: "I-01" }, true);
  f({ indicator: "I-01", hide: true }, false);
  f({ queryType: "list" }, false);
  f({ queryType: "list", list: "late" }, true);
  f({ queryType: "events", events: "policies" }, true);
});

test("a variable of many values becomes many, and all of them no restriction", () => {
  const out = ds().applyTemplateVariables({ refId: "A", indicator: "${indicator}", filter: { units: ["${province}"], codes: ["${all}"] }, lang: "en" }, {});
  expect(out).toEqual({ refId: "A", indicator: "I-10", filter: { units: ["310000", "320000"], codes: [] }, lang: "en" });
});

test("a variable shows names and holds codes", async () => {
  const d = ds();
  d.getResource = jest.fn().mockResolvedValue([{ code: "310000", zh: "上海", en: "Shanghai" }]);
  const res = await firstValueFrom((d.variables as unknown as { query: (r: object) => never }).query({ targets: [{ refId: "v", values: "province", lang: "zh" }] }));
  expect(res).toEqual({ data: [{ text: "上海", value: "310000" }] });
  expect(d.getResource).toHaveBeenCalledWith("options", { values: "province" });
});

test("the catalogue is asked for once, and again after a failure", async () => {
  const d = ds();
  const get = jest.fn().mockRejectedValueOnce(new Error("down")).mockResolvedValue({ indicators: [] });
  d.getResource = get;
  await expect(d.editor()).rejects.toThrow("down");
  await Promise.all([d.editor(), d.editor()]);
  expect(get).toHaveBeenCalledTimes(2);
});
