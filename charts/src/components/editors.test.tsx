import { cleanup, fireEvent, render, screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { config, setTemplateSrv } from "@grafana/runtime";
import type { DuiwuDataSource } from "../datasource";
import { editor } from "../testdata/editor";
import type { DuiwuOptions, DuiwuQuery } from "../types";
import { AnnotationEditor } from "./AnnotationEditor";
import { ConfigEditor } from "./ConfigEditor";
import { QueryEditor } from "./QueryEditor";
import { VariableEditor } from "./VariableEditor";

const ds = { editor: () => Promise.resolve(editor), definitionURL: (id: string) => "/definition/" + id } as unknown as DuiwuDataSource;

beforeAll(() => setTemplateSrv({ getVariables: () => [{ name: "province", type: "query" }] } as never));
beforeEach(() => { config.bootData = { user: { language: "zh-Hans" } } as typeof config.bootData; });

function open(query: Partial<DuiwuQuery>) {
  const onChange = jest.fn(), onRunQuery = jest.fn();
  render(<QueryEditor datasource={ds} query={{ refId: "A", ...query }} onChange={onChange} onRunQuery={onRunQuery} />);
  return { onChange, onRunQuery, user: userEvent.setup() };
}

describe("the query editor", () => {
  test.each([["购买模式", "I-24"], ["Gini", "I-11"]])("finds an indicator by %s", async (typed, id) => {
    const { onChange, onRunQuery, user } = open({ indicator: "I-01", groupBy: ["month"], format: "series" });
    await screen.findByRole("note"); // the catalogue is there
    await user.click(screen.getByRole("combobox", { name: "Indicator" }));
    await user.keyboard(typed);
    await user.click(await screen.findByRole("option", { name: new RegExp(id) }));
    expect(onChange).toHaveBeenLastCalledWith(expect.objectContaining({ indicator: id }));
    expect(onRunQuery).toHaveBeenCalledTimes(1);
  });

  test("shows the definition, the target and where the whole of it stands", async () => {
    open({ indicator: "I-01" });
    const note = await screen.findByRole("note", { name: "Definition of 禁毒社工总数" });
    expect(note).toHaveTextContent("禁毒社工总数的定义");
    expect(note).toHaveTextContent("T-SCALE-2020 100,000 人, unverified");
    expect(screen.getByRole("link", { name: /Whole definition/ })).toHaveAttribute("href", "/definition/I-01");
  });

  test("groups by the keyboard alone", async () => {
    const { onChange, user } = open({ indicator: "I-01" });
    const month = await screen.findByRole("checkbox", { name: /^month/ });
    month.focus();
    await user.keyboard(" ");
    expect(onChange).toHaveBeenLastCalledWith({ refId: "A", indicator: "I-01", groupBy: ["month"], format: "series" });
  });

  test("offers no months where there is no past, and no provinces where there are none", async () => {
    open({ indicator: "I-40" });
    await screen.findByRole("note");
    expect(screen.getByRole("checkbox", { name: /^month/ })).toBeDisabled();
    expect(screen.getByLabelText(/On the day/)).toBeDisabled();
  });

  test("asks for a day only when it is whole", async () => {
    const { onChange, user } = open({ indicator: "I-01" });
    const day = await screen.findByLabelText(/On the day/);
    await user.type(day, "2016-10-31");
    expect(onChange).not.toHaveBeenCalled();
    await user.tab();
    expect(onChange).toHaveBeenLastCalledWith(expect.objectContaining({ asOf: "2016-10-31" }));
  });

  test("asks for the last whole month, and for no day beside it", async () => {
    const { onChange, user } = open({ indicator: "I-01" });
    await user.click(await screen.findByRole("checkbox", { name: /last whole month/ }));
    expect(onChange).toHaveBeenLastCalledWith(expect.objectContaining({ asOf: "last_month" }));
    cleanup();
    const again = open({ indicator: "I-01", asOf: "last_month" });
    expect(await screen.findByLabelText(/On the day/)).toBeDisabled();
    await again.user.click(screen.getByRole("checkbox", { name: /last whole month/ }));
    expect(again.onChange.mock.lastCall?.[0]).not.toHaveProperty("asOf");
  });

  test.each<[Partial<DuiwuQuery>, string, Partial<DuiwuQuery>]>([
    [{ knownOn: "2016-11-05" }, "最近公布", { edition: "latest" }],
    [{ edition: "latest" }, "实时数", {}],
  ])("turns %j into %s", async (had, name, want) => {
    const { onChange, user } = open({ indicator: "I-01", ...had });
    await user.click(await screen.findByRole("radio", { name }));
    expect(onChange).toHaveBeenLastCalledWith({ refId: "A", indicator: "I-01", format: "numeric", ...want });
  });

  test("turns into a list", async () => {
    const { onChange, user } = open({ indicator: "I-01", groupBy: ["month"] });
    await user.click(await screen.findByRole("radio", { name: "List" }));
    expect(onChange).toHaveBeenLastCalledWith({ refId: "A", queryType: "list", list: "late" });
  });

  test("says when the catalogue cannot be fetched", async () => {
    render(<QueryEditor datasource={{ ...ds, editor: () => Promise.reject(new Error("down")) } as unknown as DuiwuDataSource} query={{ refId: "A", indicator: "I-01" }} onChange={jest.fn()} onRunQuery={jest.fn()} />);
    expect(await screen.findByText(/catalogue cannot be fetched/)).toBeInTheDocument();
  });

  test("gives every control a name", async () => {
    open({ indicator: "I-24", groupBy: ["province", "purchase_mode"], format: "table" });
    await screen.findByRole("note");
    for (const role of ["combobox", "checkbox", "radio", "textbox"]) {
      for (const e of screen.queryAllByRole(role)) expect(e).toHaveAccessibleName();
    }
  });
});

test("the annotation editor writes a query of events", async () => {
  const onChange = jest.fn();
  render(<AnnotationEditor datasource={ds} query={{ refId: "Anno" }} onChange={onChange} onRunQuery={jest.fn()} />);
  await userEvent.click(await screen.findByRole("radio", { name: "Policy documents" }));
  expect(onChange).toHaveBeenLastCalledWith({ refId: "Anno", queryType: "events", events: "policies" });
});

test("the variable editor offers provinces, indicators and dimensions", async () => {
  const onChange = jest.fn();
  render(<VariableEditor datasource={ds} query={{ refId: "variable" }} onChange={onChange} onRunQuery={jest.fn()} />);
  await userEvent.click(await screen.findByRole("combobox", { name: /Values of the variable/ }));
  await userEvent.click(await screen.findByRole("option", { name: /购买方式/ }));
  expect(onChange).toHaveBeenLastCalledWith({ refId: "variable", values: "purchase_mode" });
});

describe("the config editor", () => {
  const settings = (more: object = {}) => ({ url: "", jsonData: {}, secureJsonFields: {}, ...more }) as never as Parameters<typeof ConfigEditor>[0]["options"];
  test("keeps the password among the secrets", async () => {
    const change = jest.fn();
    render(<ConfigEditor options={settings()} onOptionsChange={change} />);
    await userEvent.type(screen.getByLabelText("Password"), "x");
    const saved = change.mock.lastCall[0] as { jsonData: DuiwuOptions; secureJsonData: object };
    expect(saved.secureJsonData).toEqual({ password: "x" });
    expect(JSON.stringify(saved.jsonData)).not.toContain("x");
  });
  test("shows that a password is set and lets it be replaced", async () => {
    const change = jest.fn();
    render(<ConfigEditor options={settings({ secureJsonFields: { password: true } })} onOptionsChange={change} />);
    expect(screen.getByLabelText("Password")).toBeDisabled();
    await userEvent.click(screen.getByRole("button", { name: /reset/i }));
    await waitFor(() => expect(change).toHaveBeenLastCalledWith(expect.objectContaining({ secureJsonFields: { password: false } })));
  });
  test("says what an address looks like", () => {
    render(<ConfigEditor options={settings({ url: "clickhouse:8123", jsonData: { scope: { default: "none" } } })} onOptionsChange={jest.fn()} />);
    expect(screen.getByRole("alert")).toHaveTextContent("http://host:8123");
  });
  test("saves a scope only when it can be read, and says what is wrong with it", async () => {
    const change = jest.fn();
    render(<ConfigEditor options={settings()} onOptionsChange={change} />);
    expect(screen.getByRole("alert")).toHaveTextContent("nobody sees any unit");
    const field = screen.getByLabelText(/^Scope/);
    fireEvent.change(field, { target: { value: '{"users":{"li":["31"]}}' } });
    expect(screen.getByRole("alert")).toHaveTextContent("users.li");
    expect(change).not.toHaveBeenCalled();
    fireEvent.change(field, { target: { value: '{"users":{"li":["310000"]}}' } });
    expect(screen.queryByRole("alert")).toBeNull();
    expect((change.mock.lastCall[0] as { jsonData: DuiwuOptions }).jsonData.scope).toEqual({ users: { li: ["310000"] } });
  });
  test("gives every control a name", () => {
    render(<ConfigEditor options={settings()} onOptionsChange={jest.fn()} />);
    for (const role of ["textbox", "switch", "spinbutton"]) for (const e of screen.queryAllByRole(role)) expect(e).toHaveAccessibleName();
  });
});
