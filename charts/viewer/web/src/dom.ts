type Child = Node | string | number | null | undefined | false | Child[];

/** Makes an element; attributes that are null are left out. Text is never parsed as HTML. */
export function h(tag: string, attrs: Record<string, unknown> = {}, ...children: Child[]): HTMLElement {
  const svg = ["svg", "path", "rect", "line", "g", "defs", "pattern"].includes(tag);
  const e = (svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag)) as HTMLElement;
  for (const [k, v] of Object.entries(attrs)) {
    if (v === null || v === undefined || v === false) continue;
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v as EventListener);
    else if (k === "style") for (const [p, x] of Object.entries(v as Record<string, string>)) e.style.setProperty(p, x);
    else e.setAttribute(k, v === true ? "" : String(v));
  }
  const put = (c: Child) => {
    if (Array.isArray(c)) c.forEach(put);
    else if (c !== null && c !== undefined && c !== false) e.append(c instanceof Node ? c : String(c));
  };
  children.forEach(put);
  return e;
}
