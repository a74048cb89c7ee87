package testenv_test

import (
	"bytes"
	"context"
	"image/png"
	"os"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestChromium(t *testing.T) {
	path, env := testenv.Chromium(t)
	ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
	defer cancel()
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.Env(env...),
		chromedp.NoSandbox, chromedp.WSURLReadTimeout(30*time.Second))
	for name, value := range testenv.ChromiumFlags() {
		opts = append(opts, chromedp.Flag(name, value))
	}
	ctx, cancel = chromedp.NewExecAllocator(ctx, opts...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	begin := time.Now()
	_, err := chromedp.Run(ctx, chromedp.Navigate(`data:text/html;charset=utf-8,<body style="font-size:40px">人力资源 Hello</body>`))
	require.NoError(t, err)
	text, err := chromedp.Run(ctx, chromedp.Text("body"))
	require.NoError(t, err)
	shot, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	require.NoError(t, err)
	t.Logf("screenshot after %s", time.Since(begin))
	require.Equal(t, "人力资源 Hello", text)
	img, err := png.Decode(bytes.NewReader(shot))
	require.NoError(t, err)
	require.Greater(t, img.Bounds().Dx(), 100)
	if to := os.Getenv("DUIWU_SCREENSHOT"); to != "" {
		require.NoError(t, os.WriteFile(to, shot, 0o644))
	}
}
