import { comparesOf, describe as sentence, formatsOf, tidy } from "./query";
import queries from "./testdata/queries.json";
import { editor } from "./testdata/editor";
import { compares, formats, type DuiwuQuery } from "./types";

// Every key that the JSON may have must be one of the type: this line does not
// compile otherwise.
const known: Record<Exclude<keyof DuiwuQuery, "datasource" | "hide" | "key">, true> = {
  refId: true, queryType: true, indicator: true, groupBy: true, filter: true, asOf: true, knownOn: true, fresh: true, edition: true, from: true, to: true,
  compare: true, lang: true, format: true, column: true, sort: true, limit: true, list: true, events: true,
};

describe("a saved query", () => {
  const saved = queries as unknown as DuiwuQuery[];
  test("uses every key of the type between them, and no other", () => {
    const used = new Set(saved.flatMap((q) => Object.keys(q)));
    expect([...used].sort()).toEqual(Object.keys(known).sort());
  });
  test("has values that the type knows", () => {
    for (const q of saved) {
      for (const c of q.compare ?? []) expect(compares).toContain(c);
      if (q.format) expect(formats).toContain(q.format);
    }
  });
  test("stays as it is when an editor opens it", () => {
    for (const q of saved) expect(tidy(q, editor)).toEqual(q);
  });
});

describe("tidy", () => {
  const f = (q: Partial<DuiwuQuery>, want: Partial<DuiwuQuery>) => expect(tidy({ refId: "A", ...q }, editor)).toEqual({ refId: "A", ...want });
  test("takes away what the new indicator cannot be grouped by", () => {
    f({ indicator: "I-11", groupBy: ["month", "province", "sex"], format: "table" }, { indicator: "I-11", groupBy: ["month"], format: "table" });
    f({ indicator: "I-40", groupBy: ["month", "province"], asOf: "2016-10-31", format: "series" }, { indicator: "I-40", groupBy: ["province"], format: "table" });
  });
  test("takes away codes of another dimension", () => f({ indicator: "I-24", groupBy: ["purchase_mode"], filter: { codes: ["1", "x"] } }, { indicator: "I-24", groupBy: ["purchase_mode"], filter: { codes: ["1"] }, format: "table" }));
  test("asks for the counties of one province, compared with nothing", () =>
    f({ indicator: "I-01", groupBy: ["province", "county"], filter: { units: ["310000"] }, compare: ["last_year"] }, { indicator: "I-01", groupBy: ["county"], filter: { units: ["310000"] }, format: "table" }));
  test("keeps variables", () => f({ indicator: "${indicator}", groupBy: ["province"], filter: { units: ["${province}"] } }, { indicator: "${indicator}", groupBy: ["province"], filter: { units: ["${province}"] }, format: "table" }));
  test("leaves comparisons out that mean nothing", () => f({ indicator: "I-01", groupBy: ["month"], compare: ["last_year", "rank", "target"] }, { indicator: "I-01", groupBy: ["month"], compare: ["target"], format: "series" }));
  test("asks no published figure as known on a day", () => {
    f({ indicator: "I-01", edition: "first", knownOn: "2016-11-05", compare: ["first_published"] }, { indicator: "I-01", edition: "first", format: "numeric" });
    f({ queryType: "list", list: "late", edition: "first" }, { queryType: "list", list: "late" });
  });
  test("makes a list of a list", () => f({ queryType: "list", list: "late", indicator: "I-01", groupBy: ["month"] }, { queryType: "list", list: "late" }));
});

test("forms follow the grouping", () => {
  expect(formatsOf({ refId: "A" })).toEqual(["numeric"]);
  expect(formatsOf({ refId: "A", groupBy: ["month", "province"] })).toEqual(["series", "table", "pivot"]);
  expect(comparesOf({ refId: "A", groupBy: ["province"] }, editor.indicators[0])).toContain("rank");
});

test("a query reads as a sentence", () => {
  expect(sentence({ refId: "A", indicator: "I-24", groupBy: ["province", "purchase_mode"] }, editor, "zh")).toBe("I-24 购买模式结构 · 按省 · 购买方式");
  expect(sentence({ refId: "A", indicator: "I-24", edition: "approved" }, editor, "en")).toBe("I-24 Purchase mode mix · latest approved");
  expect(sentence({ refId: "A", queryType: "list", list: "late" }, editor, "en")).toBe("due and not there");
});
