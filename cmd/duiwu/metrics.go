package main

import (
	"maps"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/transform"
)

// metrics is what a worker tells Prometheus; docs/metrics.md lists it. Labels
// hold feeds, steps, topics and rules, never a value of a record.
type metrics struct {
	registry *prometheus.Registry
	records  *prometheus.CounterVec
	rejects  *prometheus.CounterVec
	stages   *prometheus.HistogramVec
	rows     *prometheus.CounterVec
	keys     *prometheus.GaugeVec
	bytes    *prometheus.GaugeVec
	last     *prometheus.GaugeVec

	mu     sync.Mutex
	states map[[2]string]*transform.Newest
	// next is the offset behind what is durable, of the partitions at work.
	next map[place]int64
}

// place names a partition.
type place struct {
	topic     string
	partition int32
}

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry(), states: make(map[[2]string]*transform.Newest), next: make(map[place]int64)}
	m.records = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "duiwu_records_total", Help: "Records by what became of them; the outcomes add up to what was received."}, []string{"feed", "outcome"})
	m.rejects = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "duiwu_rejects_total", Help: "Rejected records by the first rule they broke."}, []string{"feed", "rule"})
	m.stages = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "duiwu_stage_seconds", Help: "Time of one cut in one stage: decode (with the wait for data), check, pseudonymize, dedupe, write.",
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 9)}, []string{"stage"})
	m.rows = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "duiwu_stage_rows_total", Help: "Rows that left a stage."}, []string{"stage"})
	m.keys = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "duiwu_dedupe_keys", Help: "Record keys that dedupe remembers for a partition."}, []string{"topic", "partition"})
	m.bytes = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "duiwu_dedupe_bytes", Help: "Memory of what dedupe remembers for a partition."}, []string{"topic", "partition"})
	m.last = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "duiwu_durable_offset", Help: "Last offset of a partition that is durable."}, []string{"topic", "partition"})
	m.registry.MustRegister(m.records, m.rejects, m.stages, m.rows, m.keys, m.bytes, m.last,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// watch adds what only the group knows, read when somebody asks.
func (m *metrics) watch(group *ingest.Group) {
	m.registry.MustRegister(
		&partitions{group: group, next: m.nexts},
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "duiwu_missing_topics", Help: "Units whose topic does not exist."},
			func() float64 { return float64(len(group.Missing())) }))
}

// assigned remembers whose state a partition's gauges show.
func (m *metrics) assigned(topic string, partition int32, next int64, state *transform.Newest) {
	at := [2]string{topic, strconv.Itoa(int(partition))}
	m.mu.Lock()
	m.states[at] = state
	m.next[place{topic, partition}] = next
	m.mu.Unlock()
	m.keys.WithLabelValues(at[0], at[1]).Set(float64(state.Len()))
	m.bytes.WithLabelValues(at[0], at[1]).Set(float64(state.Bytes()))
}

// begin makes the counters of refused records at 0: Prometheus sees no increase in
// a series that comes with its first value, so the first flood would raise no alert.
// Messages that no feed could be read of have an empty one.
func (m *metrics) begin(feeds []*feed.Spec) {
	m.records.WithLabelValues("", flow.Rejected.String())
	for _, f := range feeds {
		m.records.WithLabelValues(f.Feed, flow.Rejected.String())
	}
}

// ended drops the series of a partition that this worker has no more: another
// worker serves them now.
func (m *metrics) ended(topic string, partition int32) {
	at := [2]string{topic, strconv.Itoa(int(partition))}
	m.mu.Lock()
	delete(m.states, at)
	delete(m.next, place{topic, partition})
	m.mu.Unlock()
	for _, g := range []*prometheus.GaugeVec{m.keys, m.bytes, m.last} {
		g.DeleteLabelValues(at[0], at[1])
	}
}

func (m *metrics) nexts() map[place]int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.next)
}

// Stage implements flow.Observer.
func (m *metrics) Stage(_ flow.Span, stage string, rows int64, took time.Duration) {
	m.stages.WithLabelValues(stage).Observe(took.Seconds())
	m.rows.WithLabelValues(stage).Add(float64(rows))
}

// Done implements flow.Observer; it runs on the partition's own goroutine, so
// the state it reads is not in use.
func (m *metrics) Done(cut *flow.Cut) {
	for key, c := range cut.Tally {
		for o, n := range c.By {
			if n > 0 {
				m.records.WithLabelValues(key.Feed, flow.Outcome(o).String()).Add(float64(n))
			}
		}
		for rule, n := range c.Rules {
			m.rejects.WithLabelValues(key.Feed, rule.String()).Add(float64(n))
		}
	}
	at := [2]string{cut.Span.Topic, strconv.Itoa(int(cut.Span.Partition))}
	m.last.WithLabelValues(at[0], at[1]).Set(float64(cut.Span.Last))
	m.mu.Lock()
	state := m.states[at]
	m.next[place{cut.Span.Topic, cut.Span.Partition}] = cut.Span.Last + 1
	m.mu.Unlock()
	if state != nil {
		m.keys.WithLabelValues(at[0], at[1]).Set(float64(state.Len()))
		m.bytes.WithLabelValues(at[0], at[1]).Set(float64(state.Bytes()))
	}
}
