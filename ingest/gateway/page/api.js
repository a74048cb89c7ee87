// What the page asks the gateway. The token lives in this module alone: it is
// gone when the page is closed or loaded anew.
import { L, settings } from "./dom.js";

let token = "";
export const signWith = (t) => { token = t; };

/** A refusal of the gateway (RFC 9457), or a line that failed: status 0. */
export class Refusal extends Error {
  constructor(status, body) {
    super(body?.detail ?? L("网络连接失败，请检查网络后再试。", "The connection failed; check the network and try again."));
    this.status = status;
    this.retry = body?.retry ?? 0;
    this.number = body?.instance?.replace("urn:uuid:", "") ?? "";
  }
}

const headers = (more = {}) => {
  const out = { "Accept-Language": settings.lang === "zh" ? "zh-Hans" : "en", ...more };
  if (token) out.Authorization = "Bearer " + token;
  return out;
};

const body = async (res) => {
  const b = await res.json().catch(() => null);
  return b && { ...b, retry: Number(res.headers.get("Retry-After") ?? 0) };
};

export async function get(path) {
  let res;
  try {
    res = await fetch(path, { headers: headers(), credentials: "same-origin", cache: "no-store" });
  } catch {
    throw new Refusal(0);
  }
  if (!res.ok) throw new Refusal(res.status, await body(res));
  return { data: await res.json(), state: res.headers.get("Duiwu-Batch-State") };
}

/** Saves what an address answers as a file. */
export async function save(path, name, init = {}) {
  let res;
  try {
    res = await fetch(path, { ...init, headers: headers(init.headers), credentials: "same-origin" });
  } catch {
    throw new Refusal(0);
  }
  if (!res.ok) throw new Refusal(res.status, await body(res));
  const url = URL.createObjectURL(await res.blob());
  const a = document.createElement("a");
  a.href = url;
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Sends a file as it is. fetch cannot say how far it has come, hence the old way. */
export function upload(path, file, more = {}, progress = () => {}) {
  return new Promise((done, fail) => {
    const x = new XMLHttpRequest();
    x.open("POST", path);
    for (const [k, v] of Object.entries(headers({ "Content-Type": "application/octet-stream", ...more }))) x.setRequestHeader(k, v);
    x.upload.onprogress = (e) => progress(e.lengthComputable ? e.loaded / e.total : 0);
    x.upload.onload = () => progress(1);
    x.onerror = () => fail(new Refusal(0));
    x.onload = () => {
      let b = null;
      try { b = JSON.parse(x.responseText); } catch { /* a proxy's own page */ }
      if (x.status >= 200 && x.status < 300 && b) done({ status: x.status, data: b });
      else fail(new Refusal(x.status, b && { ...b, retry: Number(x.getResponseHeader("Retry-After") ?? 0) }));
    };
    x.send(file);
  });
}
