package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/sink"
)

// catalogue loads the feed files: those inside the binary, or a folder of one's own.
func catalogue(dir string) (*feed.Catalogue, error) {
	load := embedded
	if dir != "" {
		load = func() (*feed.Catalogue, error) { return feed.Load(os.DirFS(dir)) }
	}
	cat, err := load()
	if err != nil {
		return nil, fmt.Errorf("the feed files have problems:\n%w", err)
	}
	return cat, nil
}

// embedded loads the feed files inside the binary, once.
var embedded = sync.OnceValues(func() (*feed.Catalogue, error) { return feed.Load(feeds.FS) })

// runShow prints what the feed files give.
func runShow(_ context.Context, env *environment, args []string) error {
	flags := env.flags("show", "[flags] ddl|schema|docs|feeds|rules [FEED] | grants [sql|xml|kafka]")
	dir := flags.String("feeds", "", "folder of feed files; empty means those inside the binary")
	database := flags.String("database", "duiwu", "database of the grants, and of the ddl on a cluster")
	cluster := flags.String("cluster", "", "ddl and grants of the tables on a cluster of this name")
	durable := flags.Bool("durable", false, "ddl of tables that survive a power loss")
	units := flags.String("units", "", "grants of a user who reads the rows of these units only")
	rest, err := env.parse(flags, args, 1, 2)
	if err != nil {
		return err
	}
	cat, err := catalogue(*dir)
	if err != nil {
		return err
	}
	l := sink.Layout{Database: *database, Cluster: *cluster, Durable: *durable}
	if rest[0] == "grants" {
		form := ""
		if len(rest) == 2 {
			form = rest[1]
		}
		var only []string
		if *units != "" {
			only = strings.Split(*units, ",")
		}
		for _, code := range only {
			if u := cat.Unit(code); u == nil || !u.Reports {
				return fmt.Errorf("show grants: %q is not a reporting unit; one code or several with commas between, such as 310000", code)
			}
		}
		return showGrants(env.stdout, cat, form, l, only)
	}
	var spec *feed.Spec
	if len(rest) == 2 {
		if spec = cat.Feed(rest[1]); spec == nil {
			return fmt.Errorf("no feed %q; the feeds are %s", rest[1], strings.Join(feedNames(cat), ", "))
		}
	}
	one := func(made func(*feed.Spec) []byte) error {
		if spec == nil {
			return fmt.Errorf("show %s needs a feed: one of %s", rest[0], strings.Join(feedNames(cat), ", "))
		}
		_, err := env.stdout.Write(made(spec))
		return err
	}
	switch rest[0] {
	case "ddl":
		var statements []string
		if spec != nil {
			statements = sink.DDL(spec, l)
		} else {
			for _, s := range cat.Feeds {
				statements = append(statements, sink.DDL(s, l)...)
			}
			statements = append(statements, sink.SystemDDL(cat, l)...)
		}
		for _, s := range statements {
			if _, err := fmt.Fprintf(env.stdout, "%s;\n\n", s); err != nil {
				return err
			}
		}
		return nil
	case "schema":
		return one(cat.JSONSchema)
	case "docs":
		return one(cat.Page)
	case "feeds":
		for _, s := range cat.Feeds {
			if _, err := fmt.Fprintf(env.stdout, "%-14s %s  %s\n", s.Feed, s.Zh, s.En); err != nil {
				return err
			}
		}
		return nil
	case "rules":
		_, err := env.stdout.Write(feed.RulesPage())
		return err
	}
	flags.Usage()
	return errUsage
}

func feedNames(cat *feed.Catalogue) []string {
	names := make([]string, len(cat.Feeds))
	for i, s := range cat.Feeds {
		names[i] = s.Feed
	}
	return names
}
