// A part of the answer of the resource «editor», for the tests.
import type { Editor, Indicator } from "../types";

const text = (zh: string, en: string) => ({ zh, en });
const indicator = (id: string, zh: string, en: string, more: Partial<Indicator>): Indicator => ({
  id, zh, en, frame: "G", version: 1, approval: "provisional", definition: text(zh + "的定义", "definition of " + en), numerator: text("分子", "numerator"),
  denominator: text("分母", "denominator"), unit: text("人", "persons"), state: text("", ""), groups: [], nowOnly: false, nationOnly: false, goals: [], ...more,
});

export const editor: Editor = {
  today: "2016-11-11",
  indicators: [
    indicator("I-01", "禁毒社工总数", "Anti-drug social workers", {
      denominator: text("", ""),
      groups: [{ code: "worker_category", ...text("人员类别", "worker category"), codes: [{ code: "01", ...text("专职禁毒社工", "full-time") }, { code: "02", ...text("合同制", "contract") }] }, { code: "county", ...text("县区", "county"), codes: [] }],
      goals: [{ id: "T-SCALE-2020", value: 100000, unit: text("人", "person"), verified: false }],
    }),
    indicator("I-03", "每名社工对应现有吸毒人员", "Registered users per worker", { goals: [{ id: "T-RATIO-30", value: 30, unit: text("人", "users"), verified: true }] }),
    indicator("I-10", "每千名现有吸毒人员社工数", "Workers per 1,000 registered users", {}),
    indicator("I-11", "省际基尼系数", "Gini between provinces", { nationOnly: true, groups: [{ code: "need", ...text("需求口径", "need"), codes: [{ code: "users", ...text("按现有吸毒人员", "by registered users") }] }] }),
    indicator("I-24", "购买模式结构", "Purchase mode mix", { groups: [{ code: "purchase_mode", ...text("购买方式", "purchase mode"), codes: [{ code: "1", ...text("购买项目", "projects") }, { code: "2", ...text("购买岗位", "posts") }] }] }),
    indicator("I-40", "数据新鲜度", "Freshness", { nowOnly: true }),
  ],
  units: [{ code: "310000", ...text("上海", "Shanghai") }, { code: "320000", ...text("江苏", "Jiangsu") }],
  lists: [{ id: "late", ...text("应报未到", "due and not there"), about: text("最近一个到期月份尚未到达的单位。", "Units whose last month has not arrived.") }],
  compare: [
    { code: "previous_month", ...text("上月末", "end of last month") }, { code: "last_year", ...text("上年同日", "same day last year") }, { code: "target", ...text("目标", "target") },
    { code: "national_mean", ...text("全国", "nation") }, { code: "rank", ...text("位次", "rank") },
    { code: "first_published", ...text("首次公布", "first published") },
  ],
  editions: [
    { code: "live", ...text("实时数", "live") }, { code: "first", ...text("首次公布", "first published") },
    { code: "latest", ...text("最近公布", "latest published") }, { code: "approved", ...text("最近批准", "latest approved") },
  ],
};
