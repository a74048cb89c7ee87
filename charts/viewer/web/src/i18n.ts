// Chinese first; English by ?lang=en. Both texts stand side by side where they
// are used, so that one is never changed without the other.
const params = new URLSearchParams(location.search);

export const lang: "zh" | "en" = params.get("lang") === "en" ? "en" : "zh";
export const theme: "light" | "dark" =
  params.get("theme") === "dark" ? "dark" : params.get("theme") === "light" ? "light"
    : matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
export const param = (name: string) => params.get(name);
export const L = (zh: string, en: string) => (lang === "zh" ? zh : en);
export const pick = (o: { zh: string; en: string }) => (lang === "zh" ? o.zh : o.en);

/** A link to a page that keeps language and theme, with some parameters changed. */
export function href(page: string, change: Record<string, string> = {}): string {
  const p = new URLSearchParams();
  for (const k of ["lang", "theme"]) if (params.get(k)) p.set(k, params.get(k)!);
  for (const [k, v] of Object.entries(change)) p.set(k, v);
  const s = p.toString();
  return `/d/${page}${s ? "?" + s : ""}`;
}
