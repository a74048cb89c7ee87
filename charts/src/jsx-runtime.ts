// react/jsx-runtime by means of react alone, which every Grafana shares.
import { createElement, Fragment, type ElementType, type Key } from "react";

export { Fragment };

export function jsx(type: ElementType, { children, ...props }: { children?: React.ReactNode }, key?: Key) {
  const all = key === undefined ? props : { ...props, key };
  return Array.isArray(children) ? createElement(type, all, ...children) : children === undefined ? createElement(type, all) : createElement(type, all, children);
}

export const jsxs = jsx;
