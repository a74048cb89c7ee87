import { useId } from "react";
import type { QueryEditorProps } from "@grafana/data";
import { t } from "@grafana/i18n";
import { Combobox, Field } from "@grafana/ui";
import type { DuiwuDataSource } from "../datasource";
import { language } from "../i18n";
import { pick } from "../query";
import type { DuiwuOptions, DuiwuQuery, DuiwuVariableQuery } from "../types";
import { useEditor } from "./useEditor";

type Props = QueryEditorProps<DuiwuDataSource, DuiwuQuery, DuiwuOptions, DuiwuVariableQuery>;

/** What a variable of a dashboard lists. */
export function VariableEditor({ query, onChange, datasource }: Props) {
  const { editor } = useEditor(datasource);
  const id = useId();
  const dimensions = new Map((editor?.indicators ?? []).flatMap((i) => i.groups).filter((g) => g.codes.length) // counties are those of one province
    .map((g) => [g.code, g]));
  const options = [
    { label: t("variable.province", "Provinces"), value: "province" },
    { label: t("variable.indicator", "Indicators with months and provinces"), value: "indicator" },
    ...[...dimensions.values()].map((d) => ({ label: pick(d, language()), value: d.code })),
  ];
  return (
    <Field noMargin label={t("variable.label", "Values of the variable")} description={t("variable.help", "The variable shows names and holds codes.")} htmlFor={id}>
      <Combobox id={id} width={40} options={options} value={query.values ?? "province"} onChange={(o) => onChange({ ...query, refId: query.refId ?? "variable", values: o.value })} />
    </Field>
  );
}
