import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { render, screen } from "@testing-library/react";
import type { DataSourcePlugin } from "@grafana/data";
import { setTemplateSrv } from "@grafana/runtime";
import { editor } from "./testdata/editor";

// The built file itself, loaded as Grafana loads it: by AMD, with the shared
// packages handed in.
test("the built module gives Grafana a plugin whose editor draws", async () => {
  const dist = mkdtempSync(join(tmpdir(), "duiwu-dist-"));
  try {
    execFileSync(process.execPath, ["build.mjs"], { env: { ...process.env, PLUGIN_DIST: dist } });
    let made: { plugin: DataSourcePlugin<never> } | undefined;
    const define = (deps: string[], factory: (...shared: unknown[]) => typeof made) => {
      made = factory(...deps.map((d) => require(d)));
    };
    new Function("define", readFileSync(join(dist, "module.js"), "utf8"))(define);
    expect(made!.plugin.DataSourceClass).toBeDefined();
    expect(made!.plugin.components.ConfigEditor).toBeDefined();
    setTemplateSrv({ getVariables: () => [] } as never);
    const Editor = made!.plugin.components.QueryEditor as unknown as React.ComponentType<Record<string, unknown>>;
    const ds = { editor: () => Promise.resolve(editor), definitionURL: () => "/definition" };
    render(<Editor datasource={ds} query={{ refId: "A", indicator: "I-01" }} onChange={() => undefined} onRunQuery={() => undefined} />);
    expect(await screen.findByRole("note")).toHaveTextContent("Anti-drug social workers");
    expect(JSON.parse(readFileSync(join(dist, "plugin.json"), "utf8")).info.version).toBe("0.1.0");
  } finally {
    rmSync(dist, { recursive: true });
  }
});
