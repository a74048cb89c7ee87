import type { Provenance } from "./api";
import { L, lang, pick } from "./i18n";

const locale = lang === "zh" ? "zh-CN" : "en-GB";

export const integer = (v: number) => new Intl.NumberFormat(locale, { maximumFractionDigits: 0 }).format(v);
const fixed = (v: number, n: number) => new Intl.NumberFormat(locale, { minimumFractionDigits: n, maximumFractionDigits: n }).format(v);

/** A figure of an indicator and, apart, its unit. */
export function figure(v: number | null | undefined, m: Provenance): { text: string; unit: string } {
  if (v === null || v === undefined) return { text: "—", unit: "" };
  switch (m.format.kind) {
    case "percent": return { text: fixed(v, m.format.decimals), unit: "%" };
    case "decimal": return { text: fixed(v, m.format.decimals), unit: pick(m.unit) };
    case "hours": return v < 72 ? { text: fixed(v, v < 10 ? 1 : 0), unit: L("小时", "hours") } : { text: fixed(v / 24, 1), unit: L("天", "days") };
  }
  return { text: integer(v), unit: pick(m.unit) };
}

const cst = (iso: string) => new Date(new Date(iso).getTime() + 8 * 3600e3);
const two = (n: number) => String(n).padStart(2, "0");

/** Times are Beijing's wherever the reader sits. */
export function moment(iso: string): string {
  const d = cst(iso);
  const time = `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}`;
  return `${date(d.toISOString().slice(0, 10))} ${time}`;
}

const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

export function date(d: string): string {
  const [y, m, x] = d.split("-").map(Number);
  return lang === "zh" ? `${y}年${m}月${x}日` : `${x} ${months[m - 1]} ${y}`;
}

export function month(d: string): string {
  const [y, m] = d.split("-").map(Number);
  return lang === "zh" ? `${y}年${m}月` : `${months[m - 1]} ${y}`;
}
