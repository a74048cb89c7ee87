package gateway

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics is what the gateway tells Prometheus; docs/metrics.md lists it. No
// label names a unit, a batch or a person.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
	bytes    prometheus.Counter
	batches  *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	m.requests = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "duiwu_gateway_request_seconds", Help: "Time of a request by route and status.",
		Buckets: prometheus.ExponentialBuckets(0.005, 4, 8)}, []string{"method", "route", "status"})
	m.bytes = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "duiwu_gateway_received_bytes_total", Help: "Bytes of files received whole, unpacked."})
	m.batches = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "duiwu_gateway_batches_total", Help: "Batches by what happened: taken in, sent, or a failed try to send."}, []string{"feed", "event"})
	m.registry.MustRegister(m.requests, m.bytes, m.batches)
	return m
}

// watch adds what only the spool knows, read when somebody asks.
func (m *metrics) watch(b *batches) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "duiwu_gateway_waiting_batches", Help: "Batches that lie in the spool and are not yet sent."},
		func() float64 { return float64(len(b.unsent())) }))
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func (m *metrics) request(rt *route, status int, took time.Duration) {
	m.requests.WithLabelValues(rt.method, rt.path, strconv.Itoa(status)).Observe(took.Seconds())
}
