import { useEffect, useState } from "react";
import type { DuiwuDataSource } from "../datasource";
import type { Editor } from "../types";

/** The catalogue for an editor; failed when it cannot be fetched. */
export function useEditor(ds: Pick<DuiwuDataSource, "editor">): { editor?: Editor; failed: boolean } {
  const [state, set] = useState<{ editor?: Editor; failed: boolean }>({ failed: false });
  useEffect(() => {
    let alive = true;
    ds.editor().then((editor) => alive && set({ editor, failed: false }), () => alive && set({ failed: true }));
    return () => { alive = false; };
  }, [ds]);
  return state;
}
