// The shipped dashboards and the backend's frames, held against Grafana's own code:
// what an override matches, what a cell says and how it looks, where a link leads.
import { createTheme, type DataFrame, dataFrameFromJSON, type DataFrameJSON, fieldMatchers, getDisplayProcessor, getFieldDisplayValuesProxy } from "@grafana/data";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import frames from "./testdata/frames.json";

interface Override { matcher: { id: string; options: string }; properties: Array<{ id: string; value: unknown }> }
interface Panel { type: string; title: string; targets?: Array<{ format?: string; groupBy?: string[]; queryType?: string }>; fieldConfig?: { overrides: Override[] } }

const panels = ["D01", "D11", "WALL", "D03", "D06"].flatMap((id) => (JSON.parse(readFileSync(join(__dirname, "../dashboards/json/zh", id + ".json"), "utf8")) as { panels: Panel[] }).panels);
const theme = createTheme();

function read(name: keyof typeof frames): DataFrame {
  const f = dataFrameFromJSON(frames[name] as unknown as DataFrameJSON);
  for (const x of f.fields) x.display = getDisplayProcessor({ field: x, theme });
  return f;
}
const matched = (o: Override, f: DataFrame) => f.fields.filter((x) => fieldMatchers.get(o.matcher.id).get(o.matcher.options)(x, f, [f]));
const property = (o: Override, id: string) => o.properties.find((p) => p.id === id)?.value;

/** The text that stands for ${__data.fields.x} or ${__field.labels.x} in the first link of an override. */
function target(o: Override, f: DataFrame, row: number): string {
  const [, kind, name] = /\$\{__(data\.fields|field\.labels)\.(\w+)\}/.exec((property(o, "links") as Array<{ url: string }>)[0].url)!;
  if (kind === "field.labels") return matched(o, f).find((x) => x.labels)!.labels![name];
  return String((getFieldDisplayValuesProxy({ frame: f, rowIndex: row }) as Record<string, { text: string }>)[name]?.text);
}

test("each override of a tile grid matches its one column", () => {
  const grids = panels.filter((p) => p.targets?.[0].format === "tiles");
  expect(grids.length).toBeGreaterThan(3);
  const f = read("tiles");
  for (const p of grids) for (const o of p.fieldConfig!.overrides) expect(matched(o, f).map((x) => x.name)).toEqual([o.matcher.options]);
});

test("a tile has its colour, and a cell without one is nothing", () => {
  const f = read("tiles");
  const at = (text: string) => f.fields.flatMap((x) => x.values.map((v: string, i: number) => ({ x, v, i }))).find((c) => c.v.startsWith(text))!;
  const sh = at("沪");
  const given = (sh.x.config.mappings![0].options as Record<string, { color: string }>)[sh.v].color;
  expect(given).toMatch(/^#[0-9a-f]{6}$/);
  expect(sh.x.display!(sh.v)).toMatchObject({ text: sh.v, color: given });
  const blank = f.fields[0].display!(f.fields[0].values.find((v: string) => v === ""));
  expect(blank.text.trim()).toBe("");
  expect(blank.color).toBe("rgba(0,0,0,0)");
});

test("links lead to the unit of the tile, the row, the line", () => {
  const tiles = read("tiles");
  const o = panels.find((p) => p.targets?.[0].format === "tiles")!.fieldConfig!.overrides.find((x) => x.matcher.options === "c7")!;
  const row = tiles.fields[6].values.findIndex((v: string) => v.startsWith("沪"));
  expect(target(o, tiles, row)).toBe("310000");

  const table = read("table");
  const bars = panels.find((p) => p.type === "barchart" && p.targets?.[0].groupBy?.[0] === "province")!.fieldConfig!.overrides[0];
  expect(matched(bars, table).map((x) => x.name)).toContain("value");
  expect(target(bars, table, 0)).toBe(table.fields.find((x) => x.name === "unit")!.values[0]);

  const months = read("months");
  const heat = panels.find((p) => p.type === "state-timeline")!.fieldConfig!.overrides[0];
  expect(target(heat, months, 0)).toMatch(/^\d{6}$/);
});
