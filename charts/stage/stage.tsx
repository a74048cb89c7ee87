// What Grafana is to the plugin, as far as its editors need it: the built module is
// loaded by AMD and given Grafana's own components, theme, words and backend.
// The address says what is shown: ?part=query&lang=zh-Hans&theme=dark&q={...}.
import * as emotionCss from "@emotion/css";
import * as emotionReact from "@emotion/react";
import * as data from "@grafana/data";
import * as runtime from "@grafana/runtime";
import * as ui from "@grafana/ui";
import i18next from "i18next";
import * as lodash from "lodash";
import * as React from "react";
import * as jsxRuntime from "react/jsx-runtime";
import * as ReactDOM from "react-dom";
import { createRoot } from "react-dom/client";
import { initReactI18next } from "react-i18next";
import * as rxjs from "rxjs";
import { Board } from "./board";

const shared: Record<string, unknown> = {
  "@emotion/css": emotionCss, "@emotion/react": emotionReact, "@grafana/data": data, "@grafana/runtime": runtime, "@grafana/ui": ui,
  i18next, lodash, react: React, "react/jsx-runtime": jsxRuntime, "react-dom": ReactDOM, rxjs,
};
const id = "duiwu-datasource";
const asked = new URLSearchParams(location.search);
const lang = asked.get("lang") ?? "zh-Hans", part = asked.get("part") ?? "query";
const theme = data.createTheme({ typography: { fontFamily: "'Noto Sans SC Variable'" }, colors: { mode: asked.get("theme") === "dark" ? "dark" : "light" } });

interface Made { plugin: data.DataSourcePlugin<any, any, any, any> }

async function load(): Promise<Made["plugin"]> {
  await i18next.use(initReactI18next).init({ lng: lang, supportedLngs: ["en-US", "zh-Hans"], fallbackLng: "en-US", returnEmptyString: false, resources: {} });
  for (const l of ["en-US", "zh-Hans"]) i18next.addResourceBundle(l, id, await (await fetch(`/plugin/locales/${l}/${id}.json`)).json());
  const code = await (await fetch("/plugin/module.js")).text();
  let made: Made | undefined;
  new Function("define", code)((deps: string[], factory: (...all: unknown[]) => Made) => {
    made = factory(...deps.map((d) => { if (!(d in shared)) throw new Error("Grafana shares no " + d); return shared[d]; }));
  });
  return made!.plugin;
}

/** Keeps what an editor changes, and shows it to the tests. */
function Held({ first, children }: { first: any; children: (value: any, change: (v: any) => void) => React.ReactNode }) {
  const [value, set] = React.useState(first);
  (window as any).held = value;
  return <>{children(value, set)}</>;
}

/** Grafana's way to the backend; the viewer answers in its place. */
const backend = {
  fetch({ url, params, method, data }: { url: string; params?: Record<string, string>; method?: string; data?: unknown }) {
    const path = url.replace(/^\/api\/datasources\/uid\/[^/]+\/resources\//, "/api/ds/resources/"), query = new URLSearchParams(params ?? {}).toString();
    const asked = fetch(path + (query && "?" + query), { method, body: data ? JSON.stringify(data) : undefined });
    return rxjs.from(asked).pipe(rxjs.mergeMap(async (r) => {
      const answer = { status: r.status, data: await r.json() };
      if (!r.ok) throw answer;
      return answer;
    }));
  },
};

interface Dashboard { title: string; panels: []; templating?: { list: Array<{ name: string; current?: { value: string } }> } }

async function main() {
  document.documentElement.lang = lang;
  let dashboard: Dashboard | undefined;
  if (part === "board") dashboard = (await (await fetch(`/plugin/dashboards/${lang === "zh-Hans" ? "zh" : "en"}/${asked.get("page")}.json`)).json()) as Dashboard;
  const variables: Record<string, string> = { ...Object.fromEntries((dashboard?.templating?.list ?? []).map((v) => [v.name, v.current?.value ?? ""])), ds: "duiwu", province: "310000" };
  Object.assign(runtime.config, { theme2: theme });
  runtime.setBackendSrv(backend as any);
  runtime.setTemplateSrv({ getVariables: () => [{ name: "province", type: "query" }], replace: (s: string) => s.replace(/\$\{?(\w+)\}?/g, (all, name: string) => variables[name] ?? all) } as any);
  const plugin = await load();
  const ds = new plugin.DataSourceClass({ id: 1, uid: "duiwu", type: id, name: "队伍", jsonData: {}, meta: { id } } as any);
  const first = JSON.parse(asked.get("q") ?? "{}");
  const { QueryEditor, ConfigEditor } = plugin.components as Record<string, React.ComponentType<any>>;
  const show: Record<string, () => React.ReactNode> = {
    board: () => <Board ds={ds} dashboard={dashboard!} theme={theme} variables={variables} />,
    query: () => <Held first={{ refId: "A", ...ds.getDefaultQuery(), ...first }}>{(v, set) => <QueryEditor datasource={ds} query={v} onChange={set} onRunQuery={() => undefined} />}</Held>,
    config: () => <Held first={{ url: "", jsonData: {}, secureJsonFields: {}, secureJsonData: {}, ...first }}>{(v, set) => <ConfigEditor options={v} onOptionsChange={set} />}</Held>,
    variable: () => { const E = ds.variables.editor; return <Held first={{ refId: "v", ...first }}>{(v, set) => <E datasource={ds} query={v} onChange={set} onRunQuery={() => undefined} />}</Held>; },
    annotation: () => { const E = ds.annotations.QueryEditor; return <Held first={{ refId: "Anno", ...ds.annotations.getDefaultQuery(), ...first }}>{(v, set) => <E datasource={ds} query={v} onChange={set} onRunQuery={() => undefined} />}</Held>; },
  };
  createRoot(document.getElementById("stage")!).render(
    <data.ThemeContext.Provider value={theme}>
      <ui.GlobalStyles />
      <ui.PortalContainer />
      <main style={{ padding: 16, background: theme.colors.background.primary, minHeight: "100vh" }}>{show[part]()}</main>
    </data.ThemeContext.Provider>,
  );
}
void main();
