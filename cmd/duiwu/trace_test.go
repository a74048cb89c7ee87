package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/testenv"
	"github.com/duiwu/duiwu/internal/trace"
)

// spans is an OTLP receiver: it reads what a collector would.
type spans struct {
	mu  sync.Mutex
	all []*tracepb.Span
	by  map[string]string // service by span id
	raw strings.Builder
}

// collect names a collector in the environment of the process.
func collect(t *testing.T) *spans {
	t.Helper()
	s := &spans{by: map[string]string{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var in collector.ExportTraceServiceRequest
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &in) != nil {
			http.Error(w, "not OTLP", http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, res := range in.ResourceSpans {
			service := ""
			for _, a := range res.Resource.Attributes {
				if a.Key == "service.name" {
					service = a.Value.GetStringValue()
				}
			}
			for _, scope := range res.ScopeSpans {
				for _, one := range scope.Spans {
					s.all = append(s.all, one)
					s.by[string(one.SpanId)] = service
				}
			}
		}
		s.raw.WriteString(in.String())
	}))
	t.Cleanup(server.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
	return s
}

// of are the spans of a trace.
func (s *spans) of(trace string) []*tracepb.Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*tracepb.Span
	for _, one := range s.all {
		if hex.EncodeToString(one.TraceId) == trace {
			out = append(out, one)
		}
	}
	return out
}

func named(all []*tracepb.Span, name string) *tracepb.Span {
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// One trace from the push of a file to what the database did with it.
func TestATraceGoesFromPushToInsert(t *testing.T) {
	server, err := engine.Start(t.Context(), engine.Options{Lib: testenv.LibCHDB(t), Dir: t.TempDir(), SystemLogs: true})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop(context.Background()) })
	p := newPathAt(t, "310000", testenv.Kfake(t), server)
	dir := p.unitSide(1)
	got := collect(t)
	stop := p.worker()
	file := filepath.Join(dir, "sites.csv")
	sites(t, file, "S-1,东,1,1", "S-2,南,1,1")
	args := []string{file, "--feed", "demo_site", "--profile", filepath.Join(dir, "profile.yaml"), "--as-of", "2016-11-30"}
	out, err := p.file(args...)
	require.NoError(t, err)
	require.EqualValues(t, 2, out.Receipt.By[flow.New])
	require.Len(t, out.Trace, 32)
	stop()

	all := got.of(out.Trace)
	push, cut := named(all, "push"), named(all, "cut")
	require.NotNil(t, push)
	require.NotNil(t, cut)
	require.Equal(t, "duiwu-push", got.by[string(push.SpanId)])
	require.Equal(t, "duiwu-worker", got.by[string(cut.SpanId)])
	require.Empty(t, push.ParentSpanId)
	require.Equal(t, push.SpanId, cut.ParentSpanId)
	for _, stage := range []string{"decode", "check", "forget", "pseudonymize", "dedupe", "write", "commit"} {
		s := named(all, stage)
		require.NotNil(t, s, "no span of stage %s", stage)
		require.Equal(t, cut.SpanId, s.ParentSpanId, stage)
		require.GreaterOrEqual(t, s.StartTimeUnixNano, cut.StartTimeUnixNano, stage)
		require.LessOrEqual(t, s.EndTimeUnixNano, cut.EndTimeUnixNano, stage)
	}
	require.Contains(t, fmt.Sprint(cut.Attributes), "duiwu.records.new")
	// The database goes on with it.
	write := named(all, "write")
	require.NoError(t, p.conn.Exec(t.Context(), "SYSTEM FLUSH LOGS"))
	require.Equal(t, []string{"1"}, p.lines(fmt.Sprintf(
		`SELECT toString(count() > 0) FROM system.opentelemetry_span_log WHERE lower(hex(trace_id)) = '%s' AND parent_span_id = reinterpretAsUInt64(reverse(unhex('%x')))`,
		out.Trace, write.SpanId)))

	// The batch again: nothing is sent, and its trace is the one that it has.
	again, err := p.file(args...)
	require.NoError(t, err)
	require.Equal(t, out.Trace, again.Trace)
}

// A cut of many batches is a trace of its own that leads to theirs, and no span
// tells of a person.
func TestACutOfManyBatchesLinksTheirTraces(t *testing.T) {
	p := newPath(t, "310000")
	got := collect(t)
	producer, err := ingest.NewProducer(p.kafka)
	require.NoError(t, err)
	defer producer.Close()
	const id, mobile, person = "119901198001153013", "13800138000", "欧阳测试"
	first, second := trace.New(), trace.New()
	var messages []ingest.Outgoing
	for i, of := range []string{first, second, first, "00-" + strings.Repeat("x", 52), mobile} {
		messages = append(messages, ingest.Outgoing{
			Topic: p.topic, Key: []byte("k"), Value: []byte(demoSite(fmt.Sprint("T-", i), "示范点", person+id)),
			Headers: []ingest.Header{{Key: []byte(ingest.HeaderTraceparent), Value: []byte(of)}},
		})
	}
	require.NoError(t, producer.Send(t.Context(), messages...))
	p.sent = int64(len(messages))
	stop := p.worker()
	p.wait()
	stop()
	var cut *tracepb.Span
	require.Eventually(t, func() bool {
		got.mu.Lock()
		defer got.mu.Unlock()
		cut = named(got.all, "cut")
		return cut != nil
	}, 10*time.Second, 20*time.Millisecond)
	require.Empty(t, cut.ParentSpanId)
	var linked []string
	for _, l := range cut.Links {
		linked = append(linked, hex.EncodeToString(l.TraceId))
	}
	require.Equal(t, []string{trace.ID(first), trace.ID(second)}, linked)
	got.mu.Lock()
	defer got.mu.Unlock()
	for _, secret := range []string{id, mobile, person, "T-0"} {
		require.NotContains(t, got.raw.String(), secret)
	}
}

// A collector that is away costs spans, never records.
func TestTracesAreLostWithoutACollectorAndRecordsAreNot(t *testing.T) {
	p := newPath(t, "310000")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "500")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
	stop := p.worker()
	p.push(demoSite("A-1"))
	p.wait()
	stop()
	require.Contains(t, p.log.String(), "cannot export traces")
	require.Equal(t, []string{"A-1"}, p.lines("SELECT record_id FROM demo_site FINAL"))

	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	require.ErrorContains(t, p.run(t.Context(), "worker"), "http/protobuf only")
}
