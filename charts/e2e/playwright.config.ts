// Tests in a real Grafana with the packed plugin and the provisioning files. They
// run where GRAFANA_URL names such a server; npm run check types them always.
//
//   GRAFANA_URL=http://localhost:3000 npm run e2e
//
// CHROMIUM names a browser when Playwright has none of its own. It stands at the
// top level because the project that logs in starts a browser too.
import { dirname } from "node:path";
import { defineConfig } from "@playwright/test";
import type { PluginOptions } from "@grafana/plugin-e2e";

if (!process.env.GRAFANA_URL) throw new Error("GRAFANA_URL names no Grafana: these tests were not run");

const auth = dirname(require.resolve("@grafana/plugin-e2e")) + "/auth";

export default defineConfig<PluginOptions>({
  testDir: ".",
  fullyParallel: false,
  workers: 1,
  reporter: "list",
  use: {
    baseURL: process.env.GRAFANA_URL,
    trace: "retain-on-failure",
    launchOptions: process.env.CHROMIUM ? { executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] } : {},
  },
  projects: [
    { name: "auth", testDir: auth, testMatch: [/.*\.js/] },
    { name: "grafana", testMatch: /.*\.spec\.ts/, use: { storageState: "playwright/.auth/admin.json" }, dependencies: ["auth"] },
  ],
});
