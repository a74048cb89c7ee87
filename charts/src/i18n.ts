import { initPluginTranslations } from "@grafana/i18n";
import { config } from "@grafana/runtime";
import pluginJson from "./plugin.json";
import type { Lang } from "./types";

/**
 * Resolves when t() may be called. The module does not wait for it at its top:
 * Grafana would get a promise instead of the plugin. The editors wait, each in a
 * Suspense of its own (see lazy.tsx). Without translations they are English.
 */
export const translationsReady = initPluginTranslations(pluginJson.id).catch((error: unknown) => {
  console.error("cannot load the translations of " + pluginJson.id, error);
});

/** For words with a value in them: React escapes for HTML, and twice would show. */
export const asItStands = { interpolation: { escapeValue: false } };

/** The language in which names of indicators and columns are asked for. */
export function language(): Lang {
  const chosen = config.bootData?.user?.language || navigator.language;
  return chosen.toLowerCase().startsWith("zh") ? "zh" : "en";
}
