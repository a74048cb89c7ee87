import { DataSourcePlugin } from "@grafana/data";
import { ConfigEditor } from "./components/ConfigEditor";
import { QueryEditor } from "./components/QueryEditor";
import { DuiwuDataSource } from "./datasource";
import { translated } from "./lazy";
import type { DuiwuOptions, DuiwuQuery, DuiwuSecrets } from "./types";

export const plugin = new DataSourcePlugin<DuiwuDataSource, DuiwuQuery, DuiwuOptions, DuiwuSecrets>(DuiwuDataSource)
  .setConfigEditor(translated(ConfigEditor))
  .setQueryEditor(translated(QueryEditor));
