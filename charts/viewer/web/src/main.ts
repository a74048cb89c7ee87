// One script for all pages: it reads the page's name from the path, asks the
// datasource, and draws. A wall shows it for days, so it draws again each minute.
import "./app.css";
import { health, QueryError, resource, type Unit } from "./api";
import { board } from "./board";
import { dropCharts } from "./charts";
import { h } from "./dom";
import { L, lang, param, theme } from "./i18n";
import { setFeeds, setUnits, setupTips } from "./panel";

const refreshEvery = 60_000;

document.documentElement.lang = lang === "zh" ? "zh-Hans" : "en";
// A wall is dark unless somebody asks for light: it hangs in a room.
document.documentElement.dataset.theme = location.pathname.endsWith("/WALL") && param("theme") !== "light" ? "dark" : theme;

const app = document.getElementById("app")!;
const page = location.pathname.split("/").pop()!;

/** What a reader can do when there is nothing to draw. */
function trouble(title: string, text: string, hint: string) {
  dropCharts();
  app.replaceChildren(h("main", { class: "trouble" }, h("h1", {}, title), h("p", {}, text), h("p", { class: "soft" }, hint)));
}

async function draw() {
  try {
    const [units, status] = await Promise.all([
      resource<Unit[]>("values?dimension=province"),
      resource<{ today: string; rows: number; feeds: { feed: string; zh: string; en: string }[] }>("status"),
    ]);
    setUnits(units);
    setFeeds(status.feeds);
    if (status.rows === 0) {
      trouble(L("还没有数据", "No data yet"), L("数据库已连通，但各报送单位的数据尚未入库。", "The database answers, but no unit's data has been stored."),
        L("请确认 duiwu worker 正在运行，并用 duiwu balance 查看收到了什么。", "Make sure that duiwu worker runs, and see with duiwu balance what has been received."));
      return;
    }
    const body = await board(status.today, page);
    dropCharts();
    app.replaceChildren(body);
    document.body.dataset.ready = page;
  } catch (e) {
    if (!(e instanceof QueryError) && !(e instanceof TypeError)) throw e;
    // The page that stands is better than none when one refresh fails.
    if (document.body.dataset.ready) return;
    const s = await health().catch(() => null);
    trouble(L("暂时无法取得数据", "The figures cannot be fetched"), s?.details?.[lang] ?? (e as Error).message,
      L("本页每分钟自动重试。", "This page tries again each minute."));
  }
}

setupTips();
void draw();
setInterval(() => { if (!document.querySelector("dialog[open]") && !document.hidden) void draw(); }, refreshEvery);
