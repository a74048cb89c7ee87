// Bundles the stage with Grafana's packages into the folder that is named.
import { build } from "esbuild";
import { cp } from "node:fs/promises";

const out = process.argv[2];
// What the lock file leaves out because no editor needs it: maps and a code editor.
const none = /\.scss$|^ol(\/|$)|^monaco-editor|^@monaco-editor|^@grafana\/faro|^@openfeature\//;
await build({
  entryPoints: ["stage/stage.tsx"], bundle: true, outfile: `${out}/stage.js`, format: "iife", target: "es2021", jsx: "automatic", logLevel: "error",
  define: { "process.env.NODE_ENV": '"production"' , global: "globalThis"}, loader: { ".svg": "dataurl" },
  plugins: [{ name: "none", setup(b) {
    b.onResolve({ filter: none }, (a) => ({ path: a.path, namespace: "none" }));
    b.onLoad({ filter: /.*/, namespace: "none" }, () => ({ contents: "module.exports = new Proxy({}, { get: () => () => undefined })" }));
  } }],
});
await cp("node_modules/@grafana/ui/dist/public", `${out}/public/build`, { recursive: true });
