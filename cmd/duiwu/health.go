package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/sink"
)

// health is what a worker knows of the servers that it needs.
type health struct {
	group *ingest.Group
	sink  *sink.Sink
	// stuck is how long the group's loop may take to come round: far longer than
	// every timeout in it.
	stuck time.Duration

	mu       sync.Mutex
	database error
}

// watch asks the database for a sign of life until ctx ends.
func (h *health) watch(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		err := h.sink.Ping(ctx)
		if ctx.Err() != nil {
			return
		}
		h.mu.Lock()
		h.database = err
		h.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// troubles are the servers that do not do what is asked of them.
func (h *health) troubles() map[string]error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return map[string]error{"kafka": h.group.Trouble(), "clickhouse": h.database}
}

// live says whether the group's loop comes round. A server that is away is no
// reason to start a worker again; a loop that hangs is.
func (h *health) live() error {
	if since := time.Since(h.group.Moved()); since > h.stuck {
		return fmt.Errorf("the loop has not come round for %s", since.Round(time.Second))
	}
	return nil
}

// ready writes why the worker cannot do its work, a line a reason; nothing means
// that it reads its partitions, or stands by as a member without one.
func (h *health) ready(w io.Writer) {
	stopped := h.group.Stopped()
	for _, s := range stopped {
		fmt.Fprintf(w, "%s/%d stopped at %s: %v\n", s.Topic, s.Partition, s.Since.Format(time.RFC3339), s.Reason)
	}
	if len(stopped) == 0 && !h.group.Joined() {
		fmt.Fprintln(w, "no partition is assigned yet")
	}
	troubles := h.troubles()
	for _, server := range slices.Sorted(maps.Keys(troubles)) {
		if err := troubles[server]; err != nil {
			fmt.Fprintf(w, "%s: %v\n", server, err)
		}
	}
}

var troubleDesc = prometheus.NewDesc("duiwu_server_trouble",
	"1 while a server (kafka, clickhouse) is away or refuses the login or a right.", []string{"server", "kind"}, nil)

// Describe implements prometheus.Collector.
func (h *health) Describe(c chan<- *prometheus.Desc) { c <- troubleDesc }

// Collect implements prometheus.Collector.
func (h *health) Collect(c chan<- prometheus.Metric) {
	for server, err := range h.troubles() {
		refused := err != nil && (errors.Is(err, ingest.ErrLogin) || flow.IsPermanent(err))
		for kind, on := range map[string]bool{"refused": refused, "away": err != nil && !refused} {
			v := 0.0
			if on {
				v = 1
			}
			c <- prometheus.MustNewConstMetric(troubleDesc, prometheus.GaugeValue, v, server, kind)
		}
	}
}

// partitions serves what the group knows of partitions, when somebody asks.
type partitions struct {
	group *ingest.Group
	next  func() map[place]int64
}

var (
	stoppedDesc = prometheus.NewDesc("duiwu_stopped_partitions",
		"Partitions that wait for an operator, by cause; the log and /readyz say why.", []string{"cause"}, nil)
	lagDesc = prometheus.NewDesc("duiwu_lag_messages",
		"Messages of a partition that are not durable yet, as of the last look at the log's end.", []string{"topic", "partition"}, nil)
)

// Describe implements prometheus.Collector.
func (p *partitions) Describe(c chan<- *prometheus.Desc) {
	c <- stoppedDesc
	c <- lagDesc
}

// Collect implements prometheus.Collector.
func (p *partitions) Collect(c chan<- prometheus.Metric) {
	stopped := map[flow.Cause]int{}
	for _, s := range p.group.Stopped() {
		stopped[flow.CauseOf(s.Reason)]++
	}
	for _, cause := range flow.Causes {
		c <- prometheus.MustNewConstMetric(stoppedDesc, prometheus.GaugeValue, float64(stopped[cause]), string(cause))
	}
	for at, next := range p.next() {
		if end, ok := p.group.End(at.topic, at.partition); ok {
			c <- prometheus.MustNewConstMetric(lagDesc, prometheus.GaugeValue, float64(max(0, end-next)), at.topic, strconv.Itoa(int(at.partition)))
		}
	}
}
