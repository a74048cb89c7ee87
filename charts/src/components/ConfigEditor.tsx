import { type ChangeEvent, type FormEvent, useId, useState } from "react";
import type { DataSourcePluginOptionsEditorProps } from "@grafana/data";
import { t } from "@grafana/i18n";
import { FieldSet, Field, Input, SecretInput, SecretTextArea, Switch, TextArea } from "@grafana/ui";
import { asItStands } from "../i18n";
import { readScope } from "../scope";
import type { DuiwuOptions, DuiwuSecrets } from "../types";

type Props = DataSourcePluginOptionsEditorProps<DuiwuOptions, DuiwuSecrets>;

/** Where the database is and who asks. Grafana saves, and tests by CheckHealth. */
export function ConfigEditor({ options, onOptionsChange }: Props) {
  const { jsonData, secureJsonFields, secureJsonData } = options;
  const ids = { url: useId(), database: useId(), user: useId(), password: useId(), ca: useId(), skip: useId(), today: useId(), suppress: useId(), stale: useId(), ahead: useId(), scope: useId() };
  const json = (part: Partial<DuiwuOptions>) => onOptionsChange({ ...options, jsonData: { ...jsonData, ...part } });
  const text = (key: "database" | "user" | "today") => (e: ChangeEvent<HTMLInputElement>) => json({ [key]: e.target.value });
  const secret = (key: keyof DuiwuSecrets) => (e: FormEvent<HTMLInputElement | HTMLTextAreaElement>) => onOptionsChange({ ...options, secureJsonData: { ...secureJsonData, [key]: e.currentTarget.value } });
  const reset = (key: keyof DuiwuSecrets) => () => onOptionsChange({ ...options, secureJsonFields: { ...secureJsonFields, [key]: false }, secureJsonData: { ...secureJsonData, [key]: "" } });
  // What is typed stands until it can be read; only then is it saved.
  const [scope, setScope] = useState(() => (jsonData.scope ? JSON.stringify(jsonData.scope, null, 2) : ""));
  const misread = readScope(scope).wrong;
  const typed = (e: FormEvent<HTMLTextAreaElement>) => {
    setScope(e.currentTarget.value);
    const got = readScope(e.currentTarget.value);
    if (!got.wrong) json({ scope: got.scope });
  };
  const url = options.url ?? "";
  const wrong = url !== "" && !/^(https?|clickhouse|tcp):\/\/[^/]+/.test(url);
  return (
    <>
      <FieldSet label={t("config.server", "ClickHouse server")}>
        <Field label={t("config.url.label", "URL")} required htmlFor={ids.url} description={t("config.url.help", "The HTTP address, such as http://clickhouse:8123, or https:// with TLS.")}
          invalid={wrong} error={t("config.url.error", "Write it as http://host:8123 or https://host:8443.")}>
          <Input id={ids.url} width={60} value={url} placeholder="http://clickhouse:8123" onChange={(e) => onOptionsChange({ ...options, url: e.currentTarget.value })} />
        </Field>
        <Field label={t("config.database.label", "Database")} htmlFor={ids.database}>
          <Input id={ids.database} width={40} value={jsonData.database ?? ""} placeholder="duiwu" onChange={text("database")} />
        </Field>
        <Field label={t("config.user.label", "User")} htmlFor={ids.user} description={t("config.user.help", "A user who may read and nothing else.")}>
          <Input id={ids.user} width={40} value={jsonData.user ?? ""} autoComplete="off" onChange={text("user")} />
        </Field>
        <Field label={t("config.password.label", "Password")} htmlFor={ids.password}>
          <SecretInput id={ids.password} width={40} isConfigured={!!secureJsonFields?.password} value={secureJsonData?.password ?? ""} autoComplete="new-password" onChange={secret("password")} onReset={reset("password")} />
        </Field>
      </FieldSet>
      <FieldSet label={t("config.tls", "TLS")}>
        <Field label={t("config.ca.label", "CA certificate")} htmlFor={ids.ca} description={t("config.ca.help", "In PEM form, where the server's certificate is not from a public authority.")}>
          <SecretTextArea id={ids.ca} cols={60} rows={4} isConfigured={!!secureJsonFields?.tlsCACert} value={secureJsonData?.tlsCACert ?? ""} placeholder="-----BEGIN CERTIFICATE-----" onChange={secret("tlsCACert")} onReset={reset("tlsCACert")} />
        </Field>
        <Field label={t("config.skip.label", "Do not check the server's certificate")} htmlFor={ids.skip} description={t("config.skip.help", "For trials only: whoever stands between can read the password.")}>
          <Switch id={ids.skip} value={!!jsonData.tlsSkipVerify} onChange={(e) => json({ tlsSkipVerify: e.currentTarget.checked })} />
        </Field>
      </FieldSet>
      <FieldSet label={t("config.access", "Who may see what")}>
        <Field label={t("config.scope.label", "Scope")} required htmlFor={ids.scope} description={t("config.scope.help", "Who may see which units, as JSON: users, teams, orgs, alerts, public, default, counties. Who is not declared sees nothing.")}
          invalid={!!misread || scope.trim() === ""} error={misread ? t("config.scope.error", "Cannot read {{where}}: write nation, none, or unit codes. What was saved before stays.", { where: misread, ...asItStands }) : t("config.scope.none", "Nothing is declared, so nobody sees any unit.")}>
          <TextArea id={ids.scope} cols={60} rows={8} spellCheck={false} value={scope} placeholder='{"orgs": {"1": "nation"}, "alerts": "nation"}' onChange={typed} />
        </Field>
      </FieldSet>
      <FieldSet label={t("config.figures", "Figures")}>
        <Field label={t("config.suppress.label", "Hide counts of persons below")} htmlFor={ids.suppress} description={t("config.suppress.help", "5 when empty. Counts from 1 up to it are not shown, nor what would give them away.")}>
          <Input id={ids.suppress} width={12} type="number" min={1} value={jsonData.suppressBelow ?? ""} placeholder="5" onChange={(e) => json({ suppressBelow: e.currentTarget.value === "" ? undefined : Number(e.currentTarget.value) })} />
        </Field>
        <Field label={t("config.stale.label", "Show the last figure while newer data is computed, in seconds")} htmlFor={ids.stale} description={t("config.stale.help", "120 when empty, 300 at most, -1 for never. The figure says of which data it is. Alert rules never get it.")}>
          <Input id={ids.stale} width={12} type="number" min={-1} max={300} value={jsonData.staleSeconds ?? ""} placeholder="120" onChange={(e) => json({ staleSeconds: e.currentTarget.value === "" ? undefined : Number(e.currentTarget.value) })} />
        </Field>
        <Field label={t("config.ahead.label", "Keep the shipped dashboards ready")} htmlFor={ids.ahead} description={t("config.ahead.help", "If anybody may see the nation, their figures are found before they are opened, on one thread of the database: half of the time while somebody looks, else a fifth.")}>
          <Switch id={ids.ahead} value={jsonData.lookAhead ?? true} onChange={(e) => json({ lookAhead: e.currentTarget.checked })} />
        </Field>
        <Field label={t("config.today.label", "Today")} htmlFor={ids.today} description={t("config.today.help", "For demonstrations: the day on which every relative date rests. Leave it empty.")}>
          <Input id={ids.today} width={24} type="date" value={jsonData.today ?? ""} onChange={text("today")} />
        </Field>
      </FieldSet>
    </>
  );
}
