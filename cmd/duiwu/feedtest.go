package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/ingest/feedtest"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/strict"
	"github.com/duiwu/duiwu/transform"
)

// checkTests runs tests of feeds and mappings, with the step that the worker uses.
func checkTests(ctx context.Context, env *environment, files []string, dir string, update bool) error {
	cat, err := catalogue(dir)
	if err != nil {
		return err
	}
	opt := feedtest.Options{
		Feeds: fs.FS(feeds.FS), Catalogue: cat,
		Step: func(cat *feed.Catalogue, clock func() time.Time) (flow.Step, func()) {
			c := transform.NewCheck(transform.CheckOptions{Catalogue: cat, AllowTestAreas: true, Clock: clock})
			return c, c.Release
		},
	}
	if dir != "" {
		opt.Feeds = os.DirFS(dir)
	}
	failed := false
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			fmt.Fprintln(env.stderr, "duiwu:", err)
			return errUsage
		}
		r, err := feedtest.Run(ctx, raw, filepath.Dir(file), opt)
		if err != nil {
			var ps strict.Problems
			if errors.As(err, &ps) {
				fmt.Fprintf(env.stderr, "duiwu: %s 不能运行 cannot be run:\n%v\n", file, err)
				return errUsage
			}
			return fmt.Errorf("%s: %w", file, err)
		}
		switch {
		case len(r.Differences) == 0:
			fmt.Fprintf(env.stdout, "通过 ok    %s\n", file)
		case update:
			if err := os.WriteFile(file, r.Archive, 0o644); err != nil {
				return err
			}
			fmt.Fprintf(env.stdout, "改写 wrote %s（提交前请核对 read it before you commit it）\n", file)
		default:
			failed = true
			fmt.Fprintf(env.stdout, "不符 FAIL  %s\n    %s\n", file, strings.Join(r.Differences, "\n    "))
		}
	}
	if failed {
		fmt.Fprintln(env.stdout, "- 是预期而没有的，+ 是多出的；结果无误时用 --update 写回。 - is expected and missing, + is too much; --update writes what came out.")
		return errFindings
	}
	return nil
}

// tests says that all of the files are tests.
func tests(files []string) bool {
	for _, f := range files {
		if filepath.Ext(f) != ".txtar" {
			return false
		}
	}
	return len(files) > 0
}
