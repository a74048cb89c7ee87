import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import en from "./locales/en-US/duiwu-datasource.json";
import zh from "./locales/zh-Hans/duiwu-datasource.json";

type Tree = { [key: string]: string | Tree };
const flat = (t: Tree, at = ""): Record<string, string> =>
  Object.fromEntries(Object.entries(t).flatMap(([k, v]) => (typeof v === "string" ? [[at + k, v]] : Object.entries(flat(v, at + k + ".")))));

// The words in the code are the English ones; both files hold every key of it.
const used: Record<string, string> = {};
for (const dir of ["src", "src/components"]) {
  for (const name of readdirSync(dir)) {
    if (!/\.tsx?$/.test(name) || name.includes(".test.")) continue;
    for (const m of readFileSync(join(dir, name), "utf8").matchAll(/\bt\("([^"]+)",\s*"((?:[^"\\]|\\.)*)"/g)) used[m[1]] = JSON.parse(`"${m[2]}"`);
  }
}

test("English is what the code says", () => {
  expect(Object.keys(used).length).toBeGreaterThan(50);
  expect(flat(en)).toEqual(used);
});

test("Chinese has every key, and is Chinese", () => {
  const words = flat(zh);
  expect(Object.keys(words).sort()).toEqual(Object.keys(used).sort());
  for (const [key, v] of Object.entries(words)) {
    if (!["config.tls", "config.url.label"].includes(key)) expect(v).toMatch(/\p{Script=Han}/u);
    expect([...v.matchAll(/\{\{\w+\}\}/g)].map(String)).toEqual([...used[key].matchAll(/\{\{\w+\}\}/g)].map(String));
  }
});
