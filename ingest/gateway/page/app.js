// The page of a unit's clerk: sign in, send a file, see the calendar.
import { get, Refusal, signWith } from "./api.js";
import { calendar } from "./calendar.js";
import { apply, h, L, pick, set, settings, tell } from "./dom.js";
import { send } from "./send.js";

const app = document.getElementById("app");
const state = { session: null, unit: null, page: "send" };

const words = {
  send: () => L("报送数据", "Send data"),
  calendar: () => L("报送日历", "Calendar"),
};

function switches() {
  return [
    h("button", { class: "ghost", type: "button", id: "lang", onclick: () => { set("lang", settings.lang === "zh" ? "en" : "zh"); draw("lang"); },
      lang: settings.lang === "zh" ? "en" : "zh-Hans" }, settings.lang === "zh" ? "English" : "中文"),
    h("button", { class: "ghost", type: "button", id: "theme", "aria-pressed": settings.theme === "dark", onclick: () => { set("theme", settings.theme === "dark" ? "light" : "dark"); draw("theme"); } },
      settings.theme === "dark" ? L("浅色", "Light") : L("深色", "Dark")),
  ];
}

const brand = () => h("div", { class: "brand" },
  h("img", { src: "/page/mark.svg", alt: "", width: 40, height: 40 }),
  h("div", {}, h("p", { class: "kicker" }, L("禁毒社会工作者队伍", "Anti-drug social work force")), h("h1", {}, L("数据报送", "Data reporting"))));

async function signIn(trouble) {
  try {
    const { data } = await get("/v1/session");
    state.session = data;
    state.unit = data.units[0];
    draw();
    document.querySelector("main").focus();
    tell(L(`已登录：${state.unit.zh}`, `Signed in: ${state.unit.en}`));
  } catch (e) {
    if (!(e instanceof Refusal)) throw e;
    trouble(e);
  }
}

function door(text = "") {
  const note = h("p", { class: "trouble", id: "door-trouble", role: "alert" }, text);
  const field = h("textarea", { id: "token", rows: 4, spellcheck: "false", autocomplete: "off", "aria-describedby": "token-hint door-trouble", placeholder: "eyJ…" });
  const fail = (e) => { note.textContent = e.message; field.setAttribute("aria-invalid", "true"); field.focus(); };
  const form = h("form", {
    class: "card door", onsubmit: (e) => {
      e.preventDefault();
      note.textContent = "";
      const t = field.value.trim().replace(/^Bearer\s+/i, "");
      if (!t) return fail({ message: L("请先粘贴令牌。", "Paste the token first.") });
      signWith(t);
      void signIn(fail);
    },
  },
  h("h2", {}, L("登录", "Sign in")),
  h("label", { for: "token" }, L("访问令牌", "Access token")),
  field,
  h("p", { class: "hint", id: "token-hint" }, L("由贵单位的身份系统发放。令牌只留在本页内存中，关闭或刷新后需重新登录。", "Issued by your identity provider. It stays in the memory of this page only: close or reload it and you sign in again.")),
  h("div", { class: "actions" },
    h("button", { class: "primary", type: "submit" }, L("用令牌登录", "Sign in with token")),
    h("button", {
      class: "plain", type: "button", id: "certificate", onclick: () => {
        note.textContent = "";
        signWith("");
        void signIn((e) => fail(e.status === 401 ? { message: L("浏览器没有出示有效的客户端证书。请插入证书介质或安装证书后重启浏览器。", "The browser showed no client certificate that counts. Insert or install it and restart the browser.") } : e));
      },
    }, L("用证书登录", "Sign in with certificate"))),
  note);
  const step = (n, title, text) => h("li", {}, h("b", { "aria-hidden": "true" }, n), h("div", {}, h("h3", {}, title), h("p", {}, text)));
  app.replaceChildren(
    h("header", { class: "top" }, brand(), h("div", { class: "tools" }, switches())),
    h("main", { class: "welcome", tabindex: -1 },
      h("section", { class: "pitch" },
        h("h2", {}, L("一份表，几分钟，知道每一行的去向", "One sheet, a few minutes, and you know what became of every row")),
        h("ol", { class: "three" },
          step("1", L("检查", "Check"), L("拖入电子表格，逐格看到问题和改法。检查的内容不保存。", "Drop a spreadsheet; see each problem in its cell and how to mend it. Nothing of a check is kept.")),
          step("2", L("报送", "Send"), L("一次点击即送出；断网重传也只算一次。", "One click sends it; sent again after a cut line it still counts once.")),
          step("3", L("回执", "Receipt"), L("入库、更正、重复、退回，逐项对账。", "Stored, corrected, duplicate, refused: every record is accounted for.")))),
      form));
  document.body.dataset.ready = "door";
}

function draw(focus) {
  apply();
  if (!state.session) {
    const kept = document.getElementById("token")?.value ?? "";
    door();
    document.getElementById("token").value = kept;
  } else {
    const tab = (id) => h("a", { href: "#" + id, "aria-current": state.page === id ? "page" : null }, words[id]());
    const units = state.session.units;
    const unit = units.length === 1
      ? h("p", { class: "unit" }, pick(state.unit))
      : h("select", { class: "unit", "aria-label": L("报送单位", "Reporting unit"), onchange: (e) => { state.unit = units[e.target.selectedIndex]; draw(); } },
        units.map((u) => h("option", { selected: u === state.unit }, pick(u))));
    const main = h("main", { class: state.page, tabindex: -1 });
    app.replaceChildren(
      h("a", { class: "skip", href: "#main", onclick: (e) => { e.preventDefault(); main.focus(); } }, L("跳到正文", "Skip to content")),
      h("header", { class: "top" }, brand(),
        h("nav", { "aria-label": L("页面", "Pages") }, tab("send"), tab("calendar")),
        h("div", { class: "tools" }, unit, switches(),
          h("button", { class: "ghost", type: "button", id: "out", onclick: () => { signWith(""); state.session = null; draw(); tell(L("已退出", "Signed out")); } }, L("退出", "Sign out")))),
      main);
    (state.page === "calendar" ? calendar : send)(main, { unit: state.unit, session: state.session, expired });
    document.body.dataset.ready = state.page;
  }
  if (focus) document.getElementById(focus)?.focus();
}

/** What a page calls when the gateway no longer knows who asks. */
function expired(e) {
  signWith("");
  state.session = null;
  apply();
  door(e.message);
}

addEventListener("hashchange", () => {
  const page = location.hash.slice(1);
  if (!(page in words)) return;
  state.page = page;
  draw();
  document.querySelector("main").focus();
});

apply();
if (location.hash.slice(1) in words) state.page = location.hash.slice(1);
door();
