// Builds dist/: one page, one script, one style sheet, and the font's subsets,
// which the browser loads by unicode-range when a character asks for them.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { readFile, readdir, rename, rm, writeFile } from "node:fs/promises";

await rm("dist", { recursive: true, force: true });
await build({
  entryPoints: { app: "src/main.ts" },
  outdir: "dist/assets",
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  loader: { ".woff2": "file" },
  assetNames: "[name]-[hash]",
  entryNames: "[name]",
  logLevel: "warning",
});
// The handler lets browsers keep assets for ever, so names carry the content.
const names = {};
for (const f of await readdir("dist/assets")) {
  if (!/^app\.(js|css)$/.test(f)) continue;
  const hash = createHash("sha256").update(await readFile(`dist/assets/${f}`)).digest("hex").slice(0, 10);
  names[f] = f.replace("app", `app-${hash}`);
  await rename(`dist/assets/${f}`, `dist/assets/${names[f]}`);
}
let html = await readFile("src/index.html", "utf8");
for (const [from, to] of Object.entries(names)) html = html.replace(`/assets/${from}`, `/assets/${to}`);
await writeFile("dist/index.html", html);
