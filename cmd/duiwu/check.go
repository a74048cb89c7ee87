package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/duiwu/duiwu/ingest/mapping"
	"github.com/duiwu/duiwu/ingest/sheet"
	"github.com/duiwu/duiwu/ingest/template"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/transform"
)

// shownFindings is how many findings the terminal gets; --json has them all.
const shownFindings = 200

// runCheck checks a file of records, a folder of feed files, the feed files
// inside the binary, or runs tests of feeds and mappings.
func runCheck(ctx context.Context, env *environment, args []string) error {
	const use = "[DIR] [--mappings DIR] | FILE --feed FEED --unit UNIT [flags] | TEST.txtar... [--update]"
	flags := env.flags("check", use)
	name := flags.String("feed", "", "feed that the file is of, such as worker")
	unit := flags.String("unit", "", "reporting unit, such as 310000")
	asOf := flags.String("as-of", "", "effective_from of rows that say none, such as 2016-11-30; empty means the day the file was last changed")
	testArea := flags.Bool("test-area", false, "accept identity numbers of the reserved test area PP99xx")
	mapped := flags.String("mapping", "", "mapping.yaml that says which column is which field")
	asJSON := flags.Bool("json", false, "print the findings as JSON")
	annotate := flags.String("annotate", "", "write a copy as XLSX with the findings marked in their cells")
	mappings := flags.String("mappings", "", "folder of mappings, <unit>.<feed>.yaml each, to check beside the feed files (duiwu gateway --mappings)")
	dir := flags.String("feeds", "", "folder of feed files; empty means those inside the binary")
	update := flags.Bool("update", false, "write what came out into the tests that do not hold")
	rest, err := env.parseMixed(flags, args, 0, len(args))
	if err != nil {
		return err
	}
	if tests(rest) && *name == "" {
		return checkTests(ctx, env, rest, *dir, *update)
	}
	if len(rest) > 1 || *update {
		flags.Usage()
		return errUsage
	}
	if len(rest) == 0 || isDir(rest[0]) {
		if *name != "" || *asJSON || *annotate != "" {
			flags.Usage()
			return errUsage
		}
		return checkFeeds(env, append(rest, *dir)[0], *mappings)
	}
	if *name == "" || *unit == "" {
		fmt.Fprintln(env.stderr, "请用 --feed 和 --unit 说明数据类别和报送单位。 Say what the file holds and whose it is: --feed and --unit.")
		flags.Usage()
		return errUsage
	}
	cat, err := catalogue(*dir)
	if err != nil {
		return err
	}
	// What a file needs is bounded well below this (docs/province.md); without the
	// limit the collector would let garbage double it.
	if env.getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(440 << 20)
	}
	report, err := checkFile(ctx, cat, rest[0], *annotate, sheetOptions{feed: *name, unit: *unit, mapping: *mapped, asOf: *asOf, testArea: *testArea, clock: time.Now})
	if err != nil {
		var u *sheet.Unusable
		var bad *fs.PathError
		if errors.As(err, &u) || errors.As(err, &bad) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, errSheetOption) {
			fmt.Fprintln(env.stderr, "duiwu:", strings.TrimPrefix(err.Error(), errSheetOption.Error()+": "))
			return errUsage
		}
		if report == nil {
			return err
		}
	}
	var out error
	if *asJSON {
		out = report.WriteJSON(env.stdout)
		for _, n := range report.Notes {
			fmt.Fprintf(env.stderr, "注意：%s %s\n", n.Zh, n.En)
		}
	} else {
		out = report.WriteText(env.stdout, shownFindings)
	}
	if err := errors.Join(err, out); err != nil {
		return err
	}
	if !report.Clean() {
		return errFindings
	}
	return nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// checkFeeds checks a folder of feed files, or those inside the binary, and the
// mappings to them.
func checkFeeds(env *environment, dir, mappings string) error {
	cat, err := catalogue(dir)
	if err != nil {
		return err
	}
	mapped, err := loadMappings(mappings, cat)
	if err != nil {
		return err
	}
	also := ""
	if mappings != "" {
		also = fmt.Sprintf(", %d mappings", len(mapped))
	}
	_, err = fmt.Fprintf(env.stdout, "%d feeds, %d code lists, %d division codes%s: no problem found\n", len(cat.Feeds), len(cat.Lists), cat.Divisions.Codes(), also)
	return err
}

type sheetOptions struct {
	feed, unit, asOf, mapping string
	testArea                  bool
	clock                     func() time.Time
}

// errSheetOption is an option that says nothing of the file.
var errSheetOption = errors.New("option")

// checkFile judges one file with the step that the worker uses. With a report
// and an error, the report is whole and the annotated copy was not written.
func checkFile(ctx context.Context, cat *feed.Catalogue, path, annotate string, o sheetOptions) (*sheet.Report, error) {
	spec := cat.Feed(o.feed)
	if spec == nil {
		return nil, fmt.Errorf("%w: 没有数据类别 no feed %q; the feeds are %s", errSheetOption, o.feed, strings.Join(feedNames(cat), ", "))
	}
	opt := sheet.Options{Catalogue: cat, Feed: spec, Unit: o.unit, Clock: o.clock}
	if o.asOf != "" {
		day, err := time.ParseInLocation(time.DateOnly, o.asOf, feed.Shanghai)
		if err != nil {
			return nil, fmt.Errorf("%w: --as-of 应写成 2016-11-30。 --as-of is written 2016-11-30", errSheetOption)
		}
		opt.AsOf = day
	}
	var err error
	if opt.Mapping, err = loadMapping(o.mapping, cat); err != nil {
		return nil, err
	}
	file, err := sheet.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	step := transform.NewCheck(transform.CheckOptions{Catalogue: cat, AllowTestAreas: o.testArea, Clock: o.clock})
	defer step.Release()
	opt.Step = step
	report, err := sheet.Check(ctx, file, opt)
	if err != nil {
		return nil, err
	}
	if annotate != "" {
		if err := sheet.Annotate(file, report, annotate); err != nil {
			return report, err
		}
	}
	return report, nil
}

// loadMapping reads a mapping file; no path means no mapping.
func loadMapping(path string, cat *feed.Catalogue) (*mapping.Mapping, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the mapping: %w", err)
	}
	m, err := mapping.Load(filepath.Base(path), raw, cat)
	if err != nil {
		return nil, fmt.Errorf("%w: 映射文件有误 the mapping has faults:\n%w", errSheetOption, err)
	}
	return m, nil
}

// loadMappings reads a folder of mappings, each of a unit and a feed and named
// after both; all faults of all files at once. No folder means no mapping.
func loadMappings(dir string, cat *feed.Catalogue) (map[string]*mapping.Mapping, error) {
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read --mappings: %w", err)
	}
	out := map[string]*mapping.Mapping{}
	var faults []error
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") || isDir(filepath.Join(dir, name)) {
			continue // what Kubernetes puts beside the files of a ConfigMap
		}
		stem, yaml := strings.CutSuffix(name, ".yaml")
		unit, feedName, _ := strings.Cut(stem, ".")
		if !yaml || cat.Unit(unit) == nil || cat.Feed(feedName) == nil {
			faults = append(faults, fmt.Errorf("%s: a mapping is named UNIT.FEED.yaml, such as 310000.worker.yaml, after a unit that reports and a feed", name))
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("cannot read --mappings: %w", err)
		}
		m, err := mapping.Load(name, raw, cat)
		if err == nil && m.Feed != feedName {
			err = fmt.Errorf("%s: it maps to the feed %s and is named after %s", name, m.Feed, feedName)
		}
		faults, out[stem] = append(faults, err), m
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return out, nil
}

// runTemplate writes the workbook that a clerk fills in.
func runTemplate(_ context.Context, env *environment, args []string) error {
	flags := env.flags("template", "--feed FEED [--out FILE]")
	name := flags.String("feed", "", "feed to write the template of, such as worker")
	out := flags.String("out", "", "file to write; empty means FEED-template.xlsx, - means standard output")
	dir := flags.String("feeds", "", "folder of feed files; empty means those inside the binary")
	if _, err := env.parseMixed(flags, args, 0, 0); err != nil {
		return err
	}
	cat, err := catalogue(*dir)
	if err != nil {
		return err
	}
	spec := cat.Feed(*name)
	if spec == nil {
		fmt.Fprintf(env.stderr, "duiwu: 没有数据类别 no feed %q; the feeds are %s\n", *name, strings.Join(feedNames(cat), ", "))
		return errUsage
	}
	if *out == "-" {
		return template.Write(env.stdout, cat, spec)
	}
	path := *out
	if path == "" {
		path = spec.Feed + "-template.xlsx"
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	err = errors.Join(template.Write(f, cat, spec), f.Close())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.stdout, "已写出“%s”模板 %s；填好后用 duiwu check %s --feed %s --unit 单位代码 检查。\nThe template of feed %s is %s.\n", spec.Zh, path, path, spec.Feed, spec.Feed, path)
	return err
}
