package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/duiwu/duiwu/charts/pkg/plugin"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/charts/viewer"
	"github.com/duiwu/duiwu/cmd/demo/generate"
	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/fetch"
)

// dashboards returns the dashboards' pages over the demo's database.
func (s *stack) dashboards(ctx context.Context) (http.Handler, *plugin.Datasource, error) {
	dist, err := fetch.Viewer(ctx)
	if err != nil {
		return nil, nil, err
	}
	dsn := s.dsn
	if s.engine != nil {
		dsn = s.engine.DSNOf(engine.Dashboards)
	}
	ds, err := plugin.Open(plugin.Config{URL: dsn, Today: generate.Today.Format(time.DateOnly), Scope: scope.Everything()})
	if err != nil {
		return nil, nil, err
	}
	return viewer.Handler(ds, os.DirFS(dist), viewer.Options{Log: s.log}), ds, nil
}

// month is the one that the demo publishes: the newest of which every unit's
// records were due and came.
const month = "2016-10"

// publish keeps a month's figures as an office does, unless an earlier run did.
func (s *stack) publish(ctx context.Context) {
	var n uint64
	err := s.conn.QueryRow(ctx, "SELECT count() FROM publications").Scan(&n)
	if err == nil && n == 0 {
		err = s.run(ctx, "publish", month, "--by", "演示", "--clock", generate.Today.Format(time.RFC3339))
	}
	if err == nil && n == 0 {
		err = s.run(ctx, "publish", "approve", month, "--by", "演示", "--reason", "演示用")
	}
	if err != nil && ctx.Err() == nil {
		s.log.Warn("the demo shows no published month", "error", err)
	}
}

// serve shows the dashboards until ctx ends. The URL is the one line on stdout;
// meanwhile runs when it is shown, so that nobody waits for it.
func (s *stack) serve(ctx context.Context, stdout io.Writer, meanwhile func(context.Context)) error {
	handler, ds, err := s.dashboards(ctx)
	if err != nil {
		return err
	}
	defer ds.Dispose()
	l, err := net.Listen("tcp", s.o.listen)
	if err != nil {
		return fmt.Errorf("cannot show the dashboards: %w; give another --listen", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() {
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = server.Shutdown(short) // the process ends anyway
	})
	defer stop()
	fmt.Fprintf(stdout, "http://%s/d/D01\n", l.Addr())
	done := make(chan struct{})
	go func() { defer close(done); meanwhile(ctx) }()
	defer func() { <-done }()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot show the dashboards: %w", err)
	}
	return nil
}
