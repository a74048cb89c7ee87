// Package browsertest drives a real Chromium for the tests of pages: one browser
// a test, a tab for each of its parts, which may run at once.
package browsertest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/duiwu/duiwu/internal/testenv"
)

// Browser is one Chromium; it ends with the test that started it.
type Browser struct{ ctx context.Context }

// Start starts a Chromium, or skips or fails as testenv.Chromium says.
func Start(t *testing.T) *Browser {
	t.Helper()
	path, env := testenv.Chromium(t)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.Env(env...), chromedp.NoSandbox, chromedp.Flag("force-color-profile", "srgb"))...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // starts the browser, which must outlive the timeout of a step
		t.Fatalf("cannot start Chromium: %v", err)
	}
	return &Browser{ctx}
}

// Tab is one page. It collects what the page complains of and where else than
// home it asks.
type Tab struct {
	t   *testing.T
	ctx context.Context

	mu    sync.Mutex
	heard []string
}

// step bounds one action; a page that is slower than that hangs.
const step = 40 * time.Second

// Tab opens a tab for a test, which it does not outlive. Complaints that hold one
// of the texts forgiven are Chromium's own and do not count.
func (b *Browser) Tab(t *testing.T, home string, forgiven ...string) *Tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	t.Cleanup(cancel)
	tab := &Tab{t: t, ctx: ctx}
	if err := chromedp.Do(ctx); err != nil { // opens the tab, which must outlive the timeout of a step
		t.Fatalf("cannot open a tab: %v", err)
	}
	tab.Do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
		return err
	}))
	note := func(s string) {
		for _, f := range forgiven {
			if strings.Contains(s, f) {
				return
			}
		}
		tab.mu.Lock()
		defer tab.mu.Unlock()
		tab.heard = append(tab.heard, s)
	}
	if err := chromedp.Listen(ctx, func(ev any) {
		switch e := ev.(type) {
		case *runtime.EventConsoleAPICalled:
			if k := string(e.Type); k == "error" || k == "warning" {
				s := []string{"console:"}
				for _, a := range e.Args {
					s = append(s, fmt.Sprint(a.Value, a.Description))
				}
				note(strings.Join(s, " "))
			}
		case *runtime.EventExceptionThrown:
			note(fmt.Sprint("exception: ", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
		case *log.EventEntryAdded:
			if string(e.Entry.Level) == "error" {
				note(fmt.Sprint("log: ", e.Entry.Text, " ", e.Entry.URL))
			}
		case *network.EventRequestWillBeSent:
			if u := e.Request.URL; !strings.HasPrefix(u, home) && !strings.HasPrefix(u, "blob:"+home) && !strings.HasPrefix(u, "data:") {
				note("asks elsewhere: " + u)
			}
		}
	}); err != nil {
		t.Fatalf("cannot listen to the page: %v", err)
	}
	return tab
}

// Complaints lists what the page has complained of so far.
func (tab *Tab) Complaints() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return append([]string(nil), tab.heard...)
}

// Do runs actions that must succeed; of one that does not a picture is kept.
func (tab *Tab) Do(actions ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	for _, a := range actions {
		ctx, cancel := context.WithTimeout(tab.ctx, step)
		err := chromedp.Do(ctx, a)
		cancel()
		if err != nil {
			tab.keep("failed-"+strings.ReplaceAll(tab.t.Name(), "/", "-"), chromedp.FullScreenshot(100))
			tab.t.Fatalf("%v; the page says %v", err, tab.Complaints())
		}
	}
}

// Open goes to a page of a size and waits until it says that it is ready (by the
// selector) and its letters are there.
func (tab *Tab) Open(url string, width, height int64, ready string) {
	tab.t.Helper()
	tab.Do(chromedp.EmulateViewport(width, height), chromedp.Navigate(url), chromedp.WaitVisible(chromedp.CSS(ready)))
	tab.Settle()
}

// Settle waits until the letters are there and everything is painted.
func (tab *Tab) Settle() {
	tab.t.Helper()
	Eval[bool](tab, `document.fonts.ready.then(() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => r(true), 60)))))`)
}

// Eval gives the value of an expression in the page, of a promise what it holds.
func Eval[T any](tab *Tab, js string) T {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, step)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
	if err != nil {
		tab.t.Fatalf("%v; the page says %v", err, tab.Complaints())
	}
	return v
}

// Text is what an element says.
func (tab *Tab) Text(selector string) string {
	tab.t.Helper()
	return Eval[string](tab, fmt.Sprintf("document.querySelector(%q).innerText", selector))
}

// Shoot keeps a picture of what is on the screen, ShootAll of the whole page.
func (tab *Tab) Shoot(name string)    { tab.keep(name, chromedp.CaptureScreenshot()) }
func (tab *Tab) ShootAll(name string) { tab.keep(name, chromedp.FullScreenshot(100)) }

func (tab *Tab) keep(name string, a chromedp.Action[[]byte]) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, step)
	defer cancel()
	b, err := chromedp.Run(ctx, a)
	if err != nil {
		tab.t.Errorf("cannot take a picture of the page: %v", err)
		return
	}
	tab.store(name+".png", b)
}

// store writes into the screenshots of the repository, two levels above the
// packages that have pages.
func (tab *Tab) store(name string, b []byte) {
	tab.t.Helper()
	dir := filepath.Join("..", "..", "screenshots")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tab.t.Fatalf("cannot keep a picture: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
		tab.t.Fatalf("cannot keep a picture: %v", err)
	}
}

// PDF prints the page on the sheet that its style asks for, keeps it, and gives it.
func (tab *Tab) PDF(name string) []byte {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, step)
	defer cancel()
	yes := true
	var out []byte
	err := chromedp.Do(ctx, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		r, err := cdp.Call(ctx, target, page.PrintToPDF, page.PrintToPDFParams{PrintBackground: &yes, PreferCSSPageSize: &yes})
		if err == nil {
			out = r.Data
		}
		return err
	}))
	if err != nil {
		tab.t.Fatalf("cannot print the page: %v", err)
	}
	tab.store(name+".pdf", out)
	return out
}
