import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "@grafana/plugin-e2e";

// Every dashboard that is shipped, in both languages.
const uids = ["zh", "en"].flatMap((lang) =>
  readdirSync(join(__dirname, "../dashboards/json", lang)).map((f) => "duiwu-" + f.replace(".json", "").toLowerCase() + (lang === "en" ? "-en" : "")));

interface Answer { results?: Record<string, { error?: string }> }

test("the provisioned datasource is healthy and keeps its password", async ({ readProvisionedDataSource, gotoDataSourceConfigPage, page }) => {
  const ds = await readProvisionedDataSource({ fileName: "../../../provisioning/datasources/duiwu.yaml" });
  const config = await gotoDataSourceConfigPage(ds.uid);
  await expect(config.saveAndTest()).toBeOK();
  await expect(page.getByText(/indicators can be asked for/)).toBeVisible();
  await expect(page.getByLabel(/Password|密码/)).toHaveValue("configured");
});

test("the settings say what is wrong with an address", async ({ createDataSourceConfigPage, page }) => {
  const config = await createDataSourceConfigPage({ type: "duiwu-datasource" });
  await page.getByLabel(/^URL/).fill("http://127.0.0.1:1/duiwu");
  await expect(config.saveAndTest()).not.toBeOK();
  await expect(page.getByText(/refuses the connection/)).toBeVisible();
});

test("an indicator is found by its name and answers", async ({ panelEditPage, page }) => {
  await panelEditPage.datasource.set("队伍");
  await panelEditPage.setVisualization("Table");
  const indicator = page.getByRole("combobox", { name: /^Indicator|^指标/ });
  await indicator.fill("购买模式");
  await page.getByRole("option", { name: /I-24/ }).click();
  await expect(page.getByRole("note")).toContainText(/I-24|购买/);
  await expect(panelEditPage.refreshPanel()).toBeOK();
});

test("Explore draws what it is asked", async ({ explorePage, page }) => {
  await explorePage.datasource.set("队伍");
  await page.getByRole("combobox", { name: /^Indicator|^指标/ }).fill("I-01");
  await page.getByRole("option", { name: /I-01/ }).click();
  await expect(explorePage.runQuery()).toBeOK();
  await expect(explorePage.timeSeriesPanel.locator).toBeVisible();
});

for (const uid of uids) {
  test(`dashboard ${uid} shows every panel`, async ({ gotoDashboardPage, page }) => {
    const wrong: string[] = [];
    page.on("response", async (r) => {
      if (!r.url().includes("/api/ds/query")) return;
      const body = (await r.json().catch(() => ({}))) as Answer;
      for (const [id, x] of Object.entries(body.results ?? {})) if (x.error) wrong.push(`${id}: ${x.error}`);
    });
    const dashboard = await gotoDashboardPage({ uid });
    // Grafana asks for a panel when it comes into sight.
    await dashboard.waitForPanelsQueriesToComplete({ scrollAll: true });
    expect(wrong).toEqual([]);
    await expect(page.getByTestId("data-testid Panel status error")).toHaveCount(0);
    await expect(page.getByText(/Panel plugin not found|Datasource .* was not found/)).toHaveCount(0);
  });
}

test("the province's variable lists provinces by name", async ({ gotoDashboardPage, page }) => {
  await gotoDashboardPage({ uid: "duiwu-d11" });
  await page.getByLabel("省份").first().click();
  await expect(page.getByRole("option", { name: "上海" })).toBeVisible();
});

test("a tile of the nation leads to its province", async ({ gotoDashboardPage, page }) => {
  await gotoDashboardPage({ uid: "duiwu-d01" });
  await page.getByRole("link", { name: /^沪 / }).click();
  await expect(page).toHaveURL(/\/d\/duiwu-d11.*var-province=310000/);
  await expect(page.getByText("上海在各省中排在哪里？")).toBeVisible();
});

test("a variable can be made of a dimension", async ({ variableEditPage, page }) => {
  await variableEditPage.setVariableType("Query");
  await variableEditPage.datasource.set("队伍");
  const values = page.getByRole("combobox", { name: /^Values of the variable|^变量的取值/ });
  await values.fill("人员类别");
  await page.getByRole("option", { name: /worker category|人员类别/ }).click();
  await variableEditPage.runQuery();
  await expect(page.getByText(/社会组织聘用|employed by a social organisation/).first()).toBeVisible();
});

test("a late month is marked on the time axis", async ({ annotationEditPage, page }) => {
  await annotationEditPage.datasource.set("队伍");
  await page.getByRole("radio", { name: /Late and missing months|迟报与未报/ }).check({ force: true });
  await expect(annotationEditPage.runQuery()).toBeOK();
});

test("an alert rule can be made of an indicator", async ({ alertRuleEditPage, page }) => {
  const row = alertRuleEditPage.getAlertRuleQueryRow("A");
  await row.datasource.set("队伍");
  await page.getByRole("checkbox", { name: /^month|^按月/ }).uncheck({ force: true });
  await expect(alertRuleEditPage.evaluate()).toBeOK();
});

test("the provisioned rules are there and can be evaluated", async ({ page }) => {
  interface Rule { name: string; health: string; lastError?: string }
  const rules = async () => {
    const res = await page.request.get("/api/prometheus/grafana/api/v1/rules");
    const body = (await res.json()) as { data: { groups: Array<{ name: string; rules: Rule[] }> } };
    return body.data.groups.filter((g) => g.name === "duiwu").flatMap((g) => g.rules);
  };
  expect((await rules()).length).toBeGreaterThanOrEqual(5);
  // Rules are evaluated every five minutes, some of them soon after the start.
  await expect.poll(async () => (await rules()).filter((r) => r.health === "error").map((r) => r.name + ": " + r.lastError)).toEqual([]);
});

test.describe("a reader whose Grafana is Chinese", () => {
  test.beforeEach(async ({ page }) => void await page.request.patch("/api/user/preferences", { data: { language: "zh-Hans" } }));
  test.afterEach(async ({ page }) => void await page.request.patch("/api/user/preferences", { data: { language: "" } }));
  test("reads Chinese settings", async ({ gotoDataSourceConfigPage, readProvisionedDataSource, page }) => {
    const ds = await readProvisionedDataSource({ fileName: "../../../provisioning/datasources/duiwu.yaml" });
    await gotoDataSourceConfigPage(ds.uid);
    await expect(page.getByText("ClickHouse 服务器")).toBeVisible();
  });
  test("asks in Chinese", async ({ panelEditPage, page }) => {
    await panelEditPage.datasource.set("队伍");
    await expect(page.getByRole("combobox", { name: /^指标/ })).toBeVisible();
    await expect(page.getByRole("note", { name: /禁毒社工总数的定义/ })).toBeVisible();
  });
});
