import "@testing-library/jest-dom";
import { configure } from "@testing-library/react";
import { initPluginTranslations } from "@grafana/i18n";

// The words of the code are English; the tests of the locales compare them.
beforeAll(() => initPluginTranslations("duiwu-datasource"));
configure({ asyncUtilTimeout: 30_000 });
