// Package trace follows a batch from its producer to the tables by the W3C trace
// context (the message header traceparent), and hands spans to an OTLP collector
// when the environment names one. Without that nothing is measured and nothing
// stands on the path. Spans hold names, counts, offsets and errors, never a value
// of a record.
package trace

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
)

// name is the key of the header, in Kafka as in HTTP.
const name = "traceparent"

// asked says whether the environment names a collector.
func asked() bool {
	return (os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "") &&
		os.Getenv("OTEL_SDK_DISABLED") != "true" && os.Getenv("OTEL_TRACES_EXPORTER") != "none"
}

// Start makes what spans are begun with, set by OpenTelemetry's own variables
// (OTEL_EXPORTER_OTLP_ENDPOINT and the others); nil when they name no collector.
// service and instance name the process. stop sends what is left, for some
// seconds at most. A collector that is away costs spans, never records.
func Start(ctx context.Context, service, instance string, log *slog.Logger) (t oteltrace.Tracer, stop func(), err error) {
	if !asked() {
		return nil, func() {}, nil
	}
	for _, v := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if p := os.Getenv(v); p != "" && p != "http/protobuf" {
			return nil, nil, fmt.Errorf("%s=%s: this program speaks http/protobuf only; name the collector's HTTP port, 4318 as a rule", v, p)
		}
	}
	who, err := resource.New(ctx, resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", service), attribute.String("service.instance.id", instance)),
		resource.WithFromEnv()) // the last one wins
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	to, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot export traces: %w", err)
	}
	// The library has one handler for the process, which would print text.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("cannot export traces", "error", err) }))
	p := sdk.NewTracerProvider(sdk.WithBatcher(to), sdk.WithResource(who))
	return p.Tracer("github.com/duiwu/duiwu"), func() {
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := p.Shutdown(short); err != nil {
			log.Warn("cannot export the last traces", "error", err)
		}
	}, nil
}

// New makes the traceparent of a new trace. It asks those behind for their spans:
// who sends a batch has no collector as a rule, and wants it to be followed.
func New() string {
	var id oteltrace.TraceID
	var span oteltrace.SpanID
	_, _ = rand.Read(id[:]) // it never fails
	_, _ = rand.Read(span[:])
	return Header(oteltrace.ContextWithSpanContext(context.Background(),
		oteltrace.NewSpanContext(oteltrace.SpanContextConfig{TraceID: id, SpanID: span, TraceFlags: oteltrace.FlagsSampled})))
}

// Continue is ctx inside the trace of a traceparent; ctx itself when that says
// nothing.
func Continue(ctx context.Context, traceparent string) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{name: traceparent})
}

// Header is the traceparent of what happens in ctx; empty when it is in no trace.
func Header(ctx context.Context) string {
	out := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, out)
	return out[name]
}

// ID is the trace of a traceparent, as one searches for it; empty when it says
// nothing.
func ID(traceparent string) string {
	if id := oteltrace.SpanContextFromContext(Continue(context.Background(), traceparent)).TraceID(); id.IsValid() {
		return id.String()
	}
	return ""
}

// Begin begins a span in the trace of a traceparent, or a new trace, and returns
// the traceparent of what happens inside. Without a tracer there is no span: the
// trace goes on as it came, or begins. end ends the span.
func Begin(ctx context.Context, t oteltrace.Tracer, span, traceparent string, opt ...oteltrace.SpanStartOption) (inside string, end func(error)) {
	ctx = Continue(ctx, traceparent)
	if t == nil {
		if inside = Header(ctx); inside == "" {
			inside = New()
		}
		return inside, func(error) {}
	}
	ctx, s := t.Start(ctx, span, opt...)
	return Header(ctx), func(err error) { finish(s, err) }
}
