import type { ScopePolicy } from "./types";

const isObject = (v: unknown): v is Record<string, unknown> => typeof v === "object" && v !== null && !Array.isArray(v);
const isReach = (v: unknown) => v === "nation" || v === "none" || (Array.isArray(v) ? v : [v]).every((u) => typeof u === "string" && /^\d{6}$/.test(u));
const isLogins = (v: unknown) => Array.isArray(v) && v.every((l) => typeof l === "string" && l !== "");

/**
 * What an administrator wrote, or the path of what is wrong with it. The backend
 * checks more (that a unit reports); here is told what can be told while typing.
 */
export function readScope(text: string): { scope?: ScopePolicy; wrong?: string } {
  if (text.trim() === "") return {};
  let v: unknown;
  try {
    v = JSON.parse(text);
  } catch {
    return { wrong: "JSON" };
  }
  if (!isObject(v)) return { wrong: "JSON" };
  for (const [key, x] of Object.entries(v)) {
    switch (key) {
      case "alerts": case "public": case "default":
        if (!isReach(x)) return { wrong: key };
        break;
      case "counties":
        if (typeof x !== "boolean") return { wrong: key };
        break;
      case "users": case "orgs": {
        if (!isObject(x)) return { wrong: key };
        const bad = Object.entries(x).find(([k, r]) => !isReach(r) || (key === "orgs" && !/^[1-9]\d*$/.test(k)));
        if (bad) return { wrong: `${key}.${bad[0]}` };
        break;
      }
      case "teams": {
        if (!isObject(x)) return { wrong: key };
        const bad = Object.entries(x).find(([, team]) => !isObject(team) || !isReach(team.units) || !isLogins(team.logins) || Object.keys(team).length !== 2);
        if (bad) return { wrong: `${key}.${bad[0]}` };
        break;
      }
      default:
        return { wrong: key };
    }
  }
  return { scope: v as ScopePolicy };
}
