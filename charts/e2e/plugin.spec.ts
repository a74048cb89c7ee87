import { expect, test } from "@grafana/plugin-e2e";

const pages = ["d01", "d02", "d03", "d04", "d05", "d06", "d07", "d08", "d09", "d10", "d11", "d12", "ops"];

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

test("Explore answers", async ({ explorePage }) => {
  await explorePage.datasource.set("队伍");
  await expect(explorePage.runQuery()).toBeOK();
});

for (const id of pages) {
  for (const uid of [`duiwu-${id}`, `duiwu-${id}-en`]) {
    test(`dashboard ${uid} shows every panel`, async ({ gotoDashboardPage, page }) => {
      await gotoDashboardPage({ uid });
      await page.waitForLoadState("networkidle");
      await expect(page.getByTestId("data-testid Panel status error")).toHaveCount(0);
      await expect(page.getByText(/Panel plugin not found|Datasource .* was not found/)).toHaveCount(0);
    });
  }
}

test("the province's variable lists provinces by name", async ({ gotoDashboardPage, page }) => {
  await gotoDashboardPage({ uid: "duiwu-d11" });
  await page.getByLabel("省份").first().click();
  await expect(page.getByRole("option", { name: "上海" })).toBeVisible();
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

test("a reader whose Grafana is Chinese reads Chinese", async ({ page, gotoDataSourceConfigPage, readProvisionedDataSource }) => {
  await page.request.patch("/api/user/preferences", { data: { language: "zh-Hans" } });
  try {
    const ds = await readProvisionedDataSource({ fileName: "../../../provisioning/datasources/duiwu.yaml" });
    await gotoDataSourceConfigPage(ds.uid);
    await expect(page.getByText("ClickHouse 服务器")).toBeVisible();
  } finally {
    await page.request.patch("/api/user/preferences", { data: { language: "" } });
  }
});
