import { useId } from "react";
import type { QueryEditorProps } from "@grafana/data";
import { t } from "@grafana/i18n";
import { Field, MultiCombobox, RadioButtonGroup, Stack } from "@grafana/ui";
import type { DuiwuDataSource } from "../datasource";
import { language } from "../i18n";
import { pick, tidy } from "../query";
import type { DuiwuOptions, DuiwuQuery } from "../types";
import { variables } from "./QueryEditor";
import { useEditor } from "./useEditor";

type Props = QueryEditorProps<DuiwuDataSource, DuiwuQuery, DuiwuOptions>;

/** What happened that may explain a bend in a line. */
export function AnnotationEditor({ query, onChange, onRunQuery, datasource }: Props) {
  const { editor } = useEditor(datasource);
  const id = useId();
  const events = query.events ?? "incidents";
  const change = (part: Partial<DuiwuQuery>) => {
    onChange(tidy({ ...query, queryType: "events", events, ...part }, editor));
    onRunQuery?.();
  };
  const about = {
    policies: t("events.policies.help", "Documents issued or repealed, of the provinces chosen and of the national office."),
    incidents: t("events.incidents.help", "Months that came late or not at all, from the due time to the last arrival."),
  };
  return (
    <Stack direction="column" gap={1}>
      <Field noMargin label={t("events.label", "Events")} description={about[events]}>
        <RadioButtonGroup aria-label={t("events.label", "Events")} value={events} onChange={(v) => change({ events: v })}
          options={[{ label: t("events.policies.label", "Policy documents"), value: "policies" as const }, { label: t("events.incidents.label", "Late and missing months"), value: "incidents" as const }]} />
      </Field>
      <Field noMargin label={t("query.units.label", "Only these provinces")} htmlFor={id}>
        <MultiCombobox id={id} width={60} value={query.filter?.units ?? []} options={[...(editor?.units ?? []).map((u) => ({ label: pick(u, language()), value: u.code })), ...variables()]}
          onChange={(v) => change({ filter: { units: v.map((o) => o.value) } })} />
      </Field>
    </Stack>
  );
}
