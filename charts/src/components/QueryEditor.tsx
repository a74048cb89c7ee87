import { type ReactNode, useId } from "react";
import type { QueryEditorProps, SelectableValue } from "@grafana/data";
import { t } from "@grafana/i18n";
import { getTemplateSrv } from "@grafana/runtime";
import { Alert, Box, Checkbox, Combobox, type ComboboxOption, Field, Input, MultiCombobox, RadioButtonGroup, Stack, Text, TextLink } from "@grafana/ui";
import type { DuiwuDataSource } from "../datasource";
import { asItStands, language } from "../i18n";
import { comparesOf, describe, dimension, formatsOf, has, pick, tidy } from "../query";
import { type Code, type Compare, type DuiwuOptions, type DuiwuQuery, type Edition, type Editor, type Format, type Indicator, lastMonth } from "../types";
import { useEditor } from "./useEditor";

type Props = QueryEditorProps<DuiwuDataSource, DuiwuQuery, DuiwuOptions>;

/** Variables of the dashboard, offered beside the values. */
export function variables(): Array<ComboboxOption<string>> {
  return getTemplateSrv().getVariables().filter((v) => (v.type as string) !== "datasource").map((v) => ({ label: "${" + v.name + "}", value: "${" + v.name + "}" }));
}

export function QueryEditor({ query, onChange, onRunQuery, datasource }: Props) {
  const { editor, failed } = useEditor(datasource);
  const change = (part: Partial<DuiwuQuery>) => {
    onChange(tidy({ ...query, ...part }, editor));
    onRunQuery();
  };
  const kinds: Array<SelectableValue<string>> = [
    { label: t("query.kind.indicator", "Indicator"), value: "indicator" },
    { label: t("query.kind.list", "List"), value: "list" },
  ];
  const lang = language();
  const kind = (
    <Field noMargin label={t("query.kind.label", "What is asked for")}>
      <RadioButtonGroup options={kinds} value={query.queryType === "list" ? "list" : "indicator"} aria-label={t("query.kind.label", "What is asked for")}
        onChange={(v) => change(v === "list" ? { queryType: "list", list: query.list ?? "late" } : { queryType: undefined, indicator: query.indicator ?? "I-01" })} />
    </Field>
  );
  return (
    <Stack direction="column" gap={1}>
      {failed && <Alert severity="warning" title={t("query.failed", "The catalogue cannot be fetched. Check the datasource's settings with its test button.")} />}
      <div role="group" aria-label={t("query.summary", "Query: {{query}}", { query: describe(query, editor, lang), ...asItStands })}>
        {query.queryType === "list"
          ? <ListPart query={query} editor={editor} change={change} kind={kind} />
          : <IndicatorPart query={query} editor={editor} change={change} kind={kind} datasource={datasource} />}
      </div>
    </Stack>
  );
}

interface PartProps { query: DuiwuQuery; editor?: Editor; change: (part: Partial<DuiwuQuery>) => void }

/** Fields beside each other, their inputs on one line whatever stands above them. */
function Row({ children }: { children: ReactNode }) {
  return <Stack direction="row" gap={2} wrap="wrap" alignItems="flex-end">{children}</Stack>;
}

/** What has no label of its own stands as high as the inputs beside it. */
function Line({ children }: { children: ReactNode }) {
  return <Box minHeight={4} display="flex" alignItems="center" gap={2}>{children}</Box>;
}

function ListPart({ query, editor, change, kind }: PartProps & { kind: ReactNode }) {
  const lang = language();
  const chosen = editor?.lists.find((l) => l.id === query.list);
  const id = useId();
  return (
    <Stack direction="column" gap={1}>
      <Row>
        {kind}
        <Field noMargin label={t("query.list.label", "List")} htmlFor={id}>
          <Combobox id={id} width={60} value={query.list ?? null} options={(editor?.lists ?? []).map((l) => ({ label: pick(l, lang), value: l.id }))} onChange={(o) => change({ list: o.value })} />
        </Field>
      </Row>
      {chosen && <Text element="p" color="secondary" variant="bodySmall">{pick(chosen.about, lang)}</Text>}
      <Units query={query} editor={editor} change={change} />
    </Stack>
  );
}

function Units({ query, editor, change, one }: PartProps & { one?: boolean }) {
  const id = useId();
  const missing = one && query.filter?.units?.length !== 1;
  return (
    <Field noMargin label={t("query.units.label", "Only these provinces")} htmlFor={id} invalid={missing} error={missing ? t("query.units.one", "Counties are those of one province: choose it here.") : undefined}
      description={one ? undefined : t("query.units.help", "Empty means all. Ranks and national figures still count all of them.")}>
      <MultiCombobox id={id} width={48} value={query.filter?.units ?? []} options={[...choices(editor?.units), ...variables()]}
        onChange={(v) => change({ filter: { ...query.filter, units: v.map((o) => o.value) } })} />
    </Field>
  );
}

const choices = (codes: Code[] | undefined): Array<ComboboxOption<string>> => (codes ?? []).map((c) => ({ label: pick(c, language()), value: c.code }));

function IndicatorPart({ query, editor, change, kind, datasource }: PartProps & { kind: ReactNode; datasource: DuiwuDataSource }) {
  const lang = language();
  const i = editor?.indicators.find((x) => x.id === query.indicator);
  const dim = dimension(query);
  const ids = { indicator: useId(), dim: useId(), codes: useId(), compare: useId(), asOf: useId(), known: useId(), from: useId(), to: useId() };
  // Both names stand in the label, so that either language finds it.
  const indicators = (editor?.indicators ?? []).map((x) => ({ value: x.id, label: `${x.id} ${lang === "zh" ? x.zh : x.en} · ${lang === "zh" ? x.en : x.zh}` }));
  const group = (name: string, on: boolean) => {
    const rest = (query.groupBy ?? []).filter((g) => g !== name);
    change({ groupBy: on ? [...rest, name] : rest });
  };
  const wholeMonth = query.asOf === lastMonth;
  const none = { label: t("query.dimension.none", "nothing else"), value: "" };
  const possible = comparesOf(query, i);
  const names: Record<Format, string> = {
    series: t("query.format.series", "Lines"), numeric: t("query.format.numeric", "Numbers"), table: t("query.format.table", "Table"),
    pivot: t("query.format.pivot", "Cross table"), lorenz: t("query.format.lorenz", "Lorenz curve"), tiles: t("query.format.tiles", "Tile grid"),
  };
  return (
    <Stack direction="column" gap={1}>
      <Row>
        {kind}
        <Field noMargin label={t("query.indicator.label", "Indicator")} htmlFor={ids.indicator}>
          <Combobox id={ids.indicator} width={80} loading={!editor} placeholder={t("query.indicator.placeholder", "Search by Chinese or English name")}
            options={[...indicators, ...variables()]} value={query.indicator ?? null} onChange={(o) => change({ indicator: o.value })} />
        </Field>
      </Row>
      {i && <Definition indicator={i} url={datasource.definitionURL(i.id)} />}
      <Row>
        <Field noMargin label={t("query.group.label", "Group by")}>
          <Line>
            <Checkbox label={t("query.group.month", "month")} value={has(query, "month")} disabled={i?.nowOnly} description={i?.nowOnly ? t("query.group.now", "known for now only") : undefined} onChange={(e) => group("month", e.currentTarget.checked)} />
            <Checkbox label={t("query.group.province", "province")} value={has(query, "province")} disabled={i?.nationOnly} description={i?.nationOnly ? t("query.group.nation", "a figure of the nation") : undefined} onChange={(e) => group("province", e.currentTarget.checked)} />
          </Line>
        </Field>
        <Field noMargin label={t("query.dimension.label", "and by")} htmlFor={ids.dim}>
          <Combobox id={ids.dim} width={24} value={dim} disabled={!!i && i.groups.length === 0} options={[none, ...choices(i?.groups)]}
            onChange={(o) => change({ groupBy: [...(query.groupBy ?? []).filter((g) => g !== dim), ...(o.value ? [o.value] : [])], filter: { ...query.filter, codes: [] } })} />
        </Field>
        {dim && dim !== "county" && (
          <Field noMargin label={t("query.codes.label", "Only these groups")} htmlFor={ids.codes}>
            <MultiCombobox id={ids.codes} width={36} value={query.filter?.codes ?? []} options={[...choices(i?.groups.find((g) => g.code === dim)?.codes), ...variables()]}
              onChange={(v) => change({ filter: { ...query.filter, codes: v.map((o) => o.value) } })} />
          </Field>
        )}
      </Row>
      <Row>
        {!i?.nationOnly && <Units query={query} editor={editor} change={change} one={dim === "county"} />}
        <Field noMargin label={t("query.compare.label", "Compare with")} htmlFor={ids.compare}>
          <MultiCombobox id={ids.compare} width={48} value={query.compare ?? []} options={choices(editor?.compare.filter((c) => possible.includes(c.code as Compare)))}
            onChange={(v) => change({ compare: v.map((o) => o.value as Compare) })} />
        </Field>
      </Row>
      <Row>
        {has(query, "month") && <>
          <Moment id={ids.from} type="month" label={t("query.from.label", "From month")} value={query.from} onCommit={(from) => change({ from })} />
          <Moment id={ids.to} type="month" label={t("query.to.label", "To month")} value={query.to} onCommit={(to) => change({ to })} />
        </>}
        <Moment id={ids.asOf} type="date" label={t("query.asOf.label", "On the day")} value={wholeMonth ? "" : query.asOf} disabled={i?.nowOnly || wholeMonth} onCommit={(asOf) => change({ asOf })}
          help={t("query.asOf.help", "Empty means the end of the dashboard's time range.")} />
        <Line>
          <Checkbox label={t("query.asOf.lastMonth", "end of the last whole month")} value={wholeMonth} disabled={i?.nowOnly} onChange={(e) => change({ asOf: e.currentTarget.checked ? lastMonth : undefined })} />
        </Line>
        <Moment id={ids.known} type="date" label={t("query.knownOn.label", "As known on")} value={query.knownOn} disabled={!!query.edition} onCommit={(knownOn) => change({ knownOn })}
          help={t("query.knownOn.help", "Records that arrived later do not count.")} />
      </Row>
      <Row>
        <Field noMargin label={t("query.edition.label", "Figures")} description={t("query.edition.help", "Published figures are those of whole months and never change; approved ones have somebody who stands for them.")}>
          <RadioButtonGroup<Edition> aria-label={t("query.edition.label", "Figures")} value={query.edition ?? "live"} onChange={(v) => change({ edition: v === "live" ? undefined : v })}
            options={(editor?.editions ?? []).map((e) => ({ label: pick(e, lang), value: e.code as Edition }))} />
        </Field>
        <Field noMargin label={t("query.format.label", "Show as")}>
          <RadioButtonGroup aria-label={t("query.format.label", "Show as")} options={formatsOf(query).map((f) => ({ label: names[f], value: f }))} value={query.format} onChange={(format) => change({ format })} />
        </Field>
        {(query.format === "table" || query.format === "pivot") && (
          <Field noMargin label={t("query.sort.label", "Order")}>
            <RadioButtonGroup<"" | "asc" | "desc"> aria-label={t("query.sort.label", "Order")} value={query.sort ?? ""} onChange={(s) => change({ sort: s === "" ? undefined : s })}
              options={[{ label: t("query.sort.none", "as listed"), value: "" }, { label: t("query.sort.desc", "largest first"), value: "desc" }, { label: t("query.sort.asc", "smallest first"), value: "asc" }]} />
          </Field>
        )}
      </Row>
    </Stack>
  );
}

/** A day or month that is asked for when it is whole, not while it is typed. */
function Moment({ id, type, label, help, value, disabled, onCommit }: { id: string; type: "date" | "month"; label: string; help?: string; value?: string; disabled?: boolean; onCommit: (v: string) => void }) {
  return (
    <Field noMargin label={label} description={help} htmlFor={id}>
      <Input id={id} key={value ?? ""} type={type} width={24} disabled={disabled} defaultValue={value ?? ""}
        onBlur={(e) => e.currentTarget.value !== (value ?? "") && onCommit(e.currentTarget.value)}
        onKeyDown={(e) => e.key === "Enter" && e.currentTarget.blur()} />
    </Field>
  );
}

function Definition({ indicator: i, url }: { indicator: Indicator; url: string }) {
  const lang = language();
  const goals = i.goals.map((g) => `${g.id} ${g.value.toLocaleString("en")} ${pick(g.unit, lang)}${g.verified ? "" : t("query.definition.unverified", ", unverified")}`).join(lang === "zh" ? "；" : "; ");
  return (
    <Box padding={1} backgroundColor="secondary" borderRadius="default" role="note" aria-label={t("query.definition.label", "Definition of {{name}}", { name: pick(i, lang), ...asItStands })}>
      <Text element="p">{pick(i.definition, lang)}</Text>
      <Text element="p" color="secondary" variant="bodySmall">
        {t("query.definition.unit", "Unit: {{unit}}", { unit: pick(i.unit, lang), ...asItStands })}
        {goals && " · " + t("query.definition.target", "Target: {{target}}", { target: goals, ...asItStands })}
        {" · " + (i.approval === "approved" ? t("query.definition.approved", "approved") : t("query.definition.provisional", "provisional"))}
        {pick(i.state, lang) && " · " + pick(i.state, lang)}
      </Text>
      <TextLink href={url} external inline={false} variant="bodySmall">{t("query.definition.link", "Whole definition")}</TextLink>
    </Box>
  );
}
