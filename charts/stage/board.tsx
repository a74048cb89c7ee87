// A shipped dashboard drawn with Grafana's own parts: its datasource class, its field
// overrides, its stat, table and lines. Bars, state timelines and scatter plots are
// not in its packages; of those the numbers are shown as a table.
import * as data from "@grafana/data";
import { BigValue, PanelChrome, TimeSeries, VizRepeater } from "@grafana/ui";
import { TableNG } from "@grafana/ui/unstable";
import * as React from "react";
import { firstValueFrom, type Observable } from "rxjs";

interface Panel {
  id: number; type: string; title: string; description?: string; gridPos: { x: number; y: number; w: number; h: number };
  targets?: Array<Record<string, unknown>>; options?: any; fieldConfig?: data.FieldConfigSource;
}

const wide = 1640, row = 38;
const range: data.TimeRange = { from: data.dateTime("2015-12-01"), to: data.dateTime("2016-11-11"), raw: { from: "2015-12-01", to: "2016-11-11" } };

/** The options that a panel of Grafana knows, as far as the dashboards set them. */
const registry = new data.FieldConfigOptionsRegistry(() => {
  const item = (id: string, process: data.FieldConfigPropertyItem["process"], isCustom = false) => ({
    id: isCustom ? "custom." + id : id, path: id, name: id, isCustom, process, shouldApply: () => true, editor: () => null, override: () => null,
  });
  const same = data.identityOverrideProcessor;
  return [
    item("displayName", data.displayNameOverrideProcessor), item("unit", data.unitOverrideProcessor), item("decimals", data.numberOverrideProcessor), item("min", data.numberOverrideProcessor),
    item("max", data.numberOverrideProcessor), item("thresholds", data.thresholdsOverrideProcessor), item("mappings", data.valueMappingsOverrideProcessor), item("links", data.dataLinksOverrideProcessor),
    item("noValue", data.stringOverrideProcessor), item("color", same),
    ...["align", "minWidth", "cellOptions", "hidden", "hideFrom", "hideFrom.viz", "inspect", "lineWidth", "fillOpacity", "gradientMode", "showPoints", "spanNulls", "thresholdsStyle", "drawStyle", "width", "show"].map((id) => item(id, same, true)),
  ] as data.FieldConfigPropertyItem[];
});

export function Board({ ds, dashboard, theme, variables }: { ds: any; dashboard: { title: string; panels: Panel[] }; theme: data.GrafanaTheme2; variables: Record<string, string> }) {
  const panels = dashboard.panels.filter((p) => p.type !== "row");
  const bottom = Math.max(...panels.map((p) => p.gridPos.y + p.gridPos.h));
  const [left, set] = React.useState(panels.length);
  const done = React.useCallback(() => set((n) => n - 1), []);
  return <div id="board" data-done={left === 0} style={{ position: "relative", width: wide, height: bottom * row }}>
    {panels.map((p) => <One key={p.id} p={p} ds={ds} theme={theme} variables={variables} done={done} />)}
  </div>;
}

/** What of a panel its width is held against: a cross table has a column for each unit. */
const shape = (p: Panel) => (p.type === "table" ? { tiles: "tiles", pivot: "cross" }[String(p.targets?.[0]?.format)] ?? "table" : p.type);

function One({ p, ds, theme, variables, done }: { p: Panel; ds: any; theme: data.GrafanaTheme2; variables: Record<string, string>; done: () => void }) {
  const [frames, set] = React.useState<data.DataFrame[]>();
  const replace: data.InterpolateFunction = (s, scoped) => (s ?? "").replace(/\$\{?([A-Za-z_]\w*)(?:[.:][^}]*)?\}?/g, (all, name) => String(scoped?.[name]?.value?.text ?? variables[name] ?? all));
  React.useEffect(() => {
    const targets = (p.targets ?? []).map(({ datasource: _, ...q }) => q);
    firstValueFrom(ds.query({ targets, scopedVars: {}, range, maxDataPoints: 500, intervalMs: 1000 }) as Observable<data.DataQueryResponse>).then((r) => {
      if (r.errors?.length) throw new Error(r.errors.map((e) => e.message).join("; "));
      const drawn = data.applyFieldOverrides({
        data: r.data.map((f) => data.toDataFrame(f)), fieldConfig: p.fieldConfig ?? { defaults: {}, overrides: [] }, fieldConfigRegistry: registry,
        replaceVariables: replace, theme, timeZone: "Asia/Shanghai",
      });
      data.cacheFieldDisplayNames(drawn); // as the table panel does
      // A table knows its columns by these names.
      for (const f of drawn) {
        const names = f.fields.filter((x) => !x.config.custom?.hideFrom?.viz).map((x) => x.state!.displayName!);
        if (p.type === "table" && new Set(names).size < names.length) console.error(`panel ${p.id}: two columns have one name among ${names.join(", ")}`);
      }
      set(drawn);
    }).catch((e: unknown) => console.error(`panel ${p.id}: ${String(e)}`)).finally(done);
  }, []);
  const { x, y, w, h } = p.gridPos, gap = 8, unit = wide / 24;
  return <div data-panel={p.id} data-type={shape(p)} style={{ position: "absolute", left: x * unit, top: y * row, width: w * unit - gap, height: h * row - gap }}>
    <PanelChrome title={replace(p.title)} description={p.description} width={w * unit - gap} height={h * row - gap}>
      {(width, height) => frames ? <Drawn p={p} frames={frames} width={width} height={height} theme={theme} replace={replace} /> : <></>}
    </PanelChrome>
  </div>;
}

function Drawn({ p, frames, width, height, theme, replace }: { p: Panel; frames: data.DataFrame[]; width: number; height: number; theme: data.GrafanaTheme2; replace: data.InterpolateFunction }) {
  if (p.type === "stat") {
    const o = p.options;
    const values = data.getFieldDisplayValues({ data: frames, fieldConfig: p.fieldConfig!, reduceOptions: o.reduceOptions, replaceVariables: replace, theme, sparkline: o.graphMode !== "none", percentChange: o.showPercentChange, timeZone: "Asia/Shanghai" });
    return <VizRepeater width={width} height={height} orientation={data.VizOrientation.Auto} getValues={() => values} source={frames} renderCounter={0} autoGrid
      renderValue={(v) => <BigValue value={v.value.display} width={v.width} height={v.height} sparkline={v.value.sparkline} colorMode={o.colorMode} graphMode={o.graphMode} justifyMode={o.justifyMode} textMode={o.textMode} text={o.text} percentChangeColorMode={o.percentChangeColorMode} count={values.length} theme={theme} />} />;
  }
  if (p.type === "timeseries") {
    for (const f of frames) for (const x of f.fields) x.config.custom = { drawStyle: "line", lineInterpolation: "linear", axisPlacement: "auto", pointSize: 5, ...x.config.custom };
    return <TimeSeries frames={frames} width={width} height={height} timeRange={range} timeZone="Asia/Shanghai" legend={p.options?.legend ?? { displayMode: "list", placement: "bottom", calcs: [], showLegend: true }} />;
  }
  return <TableNG data={frames[p.options?.frameIndex ?? 0]} width={width} height={height} noHeader={p.options?.showHeader === false} cellHeight={p.options?.cellHeight} timeRange={range} enableSharedCrosshair={false} structureRev={1} />;
}
