package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
	log   *slog.Logger

	mu       sync.Mutex
	database error
	ahead    time.Duration // our clock, of the database's
}

// mostSkew is how far clocks may differ without a word, as for duiwu doctor.
const mostSkew = time.Minute

// errClock is what a wrong clock means and how to mend it.
var errClock = errors.New("records are stamped by this machine's clock, and refused when they seem to come from its future: " +
	"set the wrong one by NTP, then look for reported_at_future in duiwu quarantine list")

// watch asks the database for a sign of life until ctx ends.
func (h *health) watch(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		ahead, err := h.sink.Ping(ctx)
		if ctx.Err() != nil {
			return
		}
		h.mu.Lock()
		h.database = err
		if err == nil {
			h.compare(ahead)
		}
		h.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// compare says when the clocks begin to differ, and when they agree again; h.mu is
// held. Nothing stops by it: which of the two is wrong is not for us to say.
func (h *health) compare(ahead time.Duration) {
	wrong, was := ahead.Abs() > mostSkew, h.ahead.Abs() > mostSkew
	switch {
	case wrong && (!was || (ahead-h.ahead).Abs() > mostSkew):
		h.log.Warn("this machine's clock and the database's differ", "ahead", ahead.Round(time.Second), "error", errClock)
	case was && !wrong:
		h.log.Info("this machine's clock and the database's agree again")
	}
	h.ahead = ahead
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

var aheadDesc = prometheus.NewDesc("duiwu_clock_ahead_seconds",
	"How far this machine's clock is ahead of the database's when it last answered; less than 0 when it is behind.", nil, nil)

var troubleDesc = prometheus.NewDesc("duiwu_server_trouble",
	"1 while a server (kafka, clickhouse) is away or refuses the login or a right.", []string{"server", "kind"}, nil)

// Describe implements prometheus.Collector.
func (h *health) Describe(c chan<- *prometheus.Desc) {
	c <- aheadDesc
	c <- troubleDesc
}

// Collect implements prometheus.Collector.
func (h *health) Collect(c chan<- prometheus.Metric) {
	h.mu.Lock()
	ahead := h.ahead
	h.mu.Unlock()
	c <- prometheus.MustNewConstMetric(aheadDesc, prometheus.GaugeValue, ahead.Seconds())
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
