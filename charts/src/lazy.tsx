import { type ComponentType, lazy, Suspense } from "react";
import { LoadingPlaceholder } from "@grafana/ui";
import { translationsReady } from "./i18n";

/** Shows a component as soon as its words are there. */
export function translated<P extends object>(Component: ComponentType<P>): ComponentType<P> {
  const Waiting = lazy(async () => {
    await translationsReady;
    return { default: Component as ComponentType<object> };
  });
  return function Translated(props: P) {
    return <Suspense fallback={<LoadingPlaceholder text="…" />}><Waiting {...props} /></Suspense>;
  };
}
