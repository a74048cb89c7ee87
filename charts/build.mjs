// Builds dist/: module.js with plugin.json, logo, locales and dashboards beside
// it. Grafana loads AMD and gives a plugin its own React and @grafana packages,
// so they stay outside; esbuild writes CommonJS, and a frame around it does the
// rest. There are no chunks: the whole is smaller than one of Grafana's icons.
import { build } from "esbuild";
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";

const out = process.env.PLUGIN_DIST ?? "dist";
const shared = ["react", "react-dom", "react/jsx-runtime", "@grafana/data", "@grafana/runtime", "@grafana/ui", "@emotion/css", "@emotion/react", "rxjs", "lodash", "i18next"];

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
const { outputFiles } = await build({
  entryPoints: ["src/module.ts"], bundle: true, minify: true, write: false, format: "cjs", target: "es2021", jsx: "automatic",
  // Grafana shares react but, before 12.3, no react/jsx-runtime: the shim makes it of react.
  external: shared.filter((s) => s !== "react/jsx-runtime"), alias: { "react/jsx-runtime": "./src/jsx-runtime.ts" },
  define: { "process.env.NODE_ENV": '"production"' }, legalComments: "inline", logLevel: "warning",
});
const code = outputFiles[0].text;
const deps = [...new Set([...code.matchAll(/\brequire\("([^"]+)"\)/g)].map((m) => m[1]))];
const strange = deps.filter((d) => !shared.includes(d));
if (strange.length) throw new Error(`Grafana shares no ${strange.join(", ")}`);
await writeFile(`${out}/module.js`, `define(${JSON.stringify(deps)}, function () {
var shared = Array.prototype.slice.call(arguments), names = ${JSON.stringify(deps)};
function require(name) { return shared[names.indexOf(name)]; }
var module = { exports: {} }, exports = module.exports;
${code}
return module.exports;
});
`);
const { version } = JSON.parse(await readFile("package.json", "utf8"));
const manifest = (await readFile("src/plugin.json", "utf8")).replaceAll("%VERSION%", version).replaceAll("%TODAY%", process.env.PLUGIN_DATE ?? new Date().toISOString().slice(0, 10));
await writeFile(`${out}/plugin.json`, manifest);
for (const dir of ["img", "locales"]) await cp(`src/${dir}`, `${out}/${dir}`, { recursive: true });
await cp("dashboards/json", `${out}/dashboards`, { recursive: true });
await cp("src/README.md", `${out}/README.md`);
await cp("../CHANGELOG.md", `${out}/CHANGELOG.md`);
await cp("../LICENSE", `${out}/LICENSE`);
