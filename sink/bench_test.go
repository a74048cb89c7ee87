package sink

import (
	"context"
	"fmt"
	"io"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/testenv"
	"github.com/duiwu/duiwu/internal/usage"
)

const benchRows = 131072

// BenchmarkInsert compares ways to bring one worker batch of 131,072 rows into
// the history and the current table. Custom units: rows/s, and CPU seconds per
// million rows of this process (client) and of ClickHouse (server, merges that
// fall into the time included).
//
//	go test ./sink -run '^$' -bench Insert -benchtime 8x
func BenchmarkInsert(b *testing.B) {
	for _, way := range []struct {
		name string
		view bool
	}{
		{name: "ArrowStream/view", view: true},
		{name: "ArrowStream/history-only"},
		{name: "ArrowStream/two-posts"},
		{name: "clickhouse-go-tcp/history-only"},
		{name: "clickhouse-go-http/history-only"},
	} {
		b.Run(way.name, func(b *testing.B) {
			e := testenv.ClickHouse(b)
			s := fresh(b, "worker")
			spec := s.opt.Catalogue.Feed("worker")
			if !way.view {
				require.NoError(b, s.exec(b.Context(), "DROP TABLE worker_to_current SYNC", nil))
			}
			insert := func(rec arrow.Record) error { return s.store(b.Context(), spec, rec) }
			plain := func(table string, rec arrow.Record) error {
				var names []string
				for _, f := range rec.Schema().Fields() {
					names = append(names, f.Name)
				}
				return s.insert(b.Context(), table, names, "ArrowStream", rec.NumRows(), 1, func(w io.Writer) error {
					e := ipc.NewWriter(w, ipc.WithSchema(rec.Schema()))
					if err := e.Write(rec); err != nil {
						return err
					}
					return e.Close()
				})
			}
			switch {
			case strings.HasSuffix(way.name, "two-posts"):
				insert = func(rec arrow.Record) error {
					if err := plain(spec.HistoryTable(), rec); err != nil {
						return err
					}
					narrow := current(spec, rec)
					defer narrow.Release()
					return plain(spec.CurrentTable(), narrow)
				}
			case strings.HasPrefix(way.name, "ArrowStream/history"):
				insert = func(rec arrow.Record) error { return plain(spec.HistoryTable(), rec) }
			case strings.HasPrefix(way.name, "clickhouse-go"):
				u, err := url.Parse(s.opt.DSN)
				require.NoError(b, err)
				pw, _ := u.User.Password()
				o := &clickhouse.Options{Protocol: clickhouse.HTTP, Addr: []string{u.Host}, Auth: clickhouse.Auth{Database: s.database, Username: u.User.Username(), Password: pw}}
				if strings.Contains(way.name, "tcp") {
					o.Protocol, o.Addr = clickhouse.Native, []string{e.TCPAddr()}
				}
				conn, err := clickhouse.Open(o)
				require.NoError(b, err)
				b.Cleanup(func() { conn.Close() })
				insert = func(rec arrow.Record) error { return columnar(b.Context(), conn, spec, rec) }
			}
			var took time.Duration
			var client, server float64
			for i := range b.N {
				b.StopTimer()
				rec := build(memory.DefaultAllocator, spec, topic310, workers(i))
				c, v, start := selfCPU(), pidCPU(b, e.PID()), time.Now()
				b.StartTimer()
				require.NoError(b, insert(rec))
				b.StopTimer()
				took += time.Since(start)
				client += selfCPU() - c
				server += pidCPU(b, e.PID()) - v
				rec.Release()
				b.StartTimer()
			}
			rows := float64(b.N * benchRows)
			b.ReportMetric(rows/took.Seconds(), "rows/s")
			b.ReportMetric(client/rows*1e6, "client-s/M")
			b.ReportMetric(server/rows*1e6, "server-s/M")
			b.ReportMetric(0, "ns/op")
			require.Equal(b, fmt.Sprintf("(%d)", b.N*benchRows), value(b, s, "SELECT count() FROM worker_history FINAL"))
		})
	}
}

func workers(batch int) []record {
	out := make([]record, benchRows)
	for i := range out {
		out[i] = record{id: fmt.Sprintf("P-%04d-%08d", batch, (i*48271)%benchRows), day: 20000, version: version(int64(batch), uint64(i)*0x9e3779b97f4a7c15), offset: int64(batch*benchRows + i), row: int32(i)}
	}
	return out
}

func current(spec *feed.Spec, rec arrow.Record) arrow.Record {
	var fields []arrow.Field
	var cols []arrow.Array
	for i, c := range spec.Columns() {
		if c.Current {
			fields, cols = append(fields, rec.Schema().Field(i)), append(cols, rec.Column(i))
		}
	}
	return array.NewRecord(arrow.NewSchema(fields, nil), cols, rec.NumRows())
}

// columnar turns Arrow columns into the slices that clickhouse-go takes.
func columnar(ctx context.Context, conn driver.Conn, spec *feed.Spec, rec arrow.Record) error {
	h := historyTable(spec)
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO "+h.name+" ("+quoteNames(h.names())+")")
	if err != nil {
		return err
	}
	n := int(rec.NumRows())
	for i, c := range spec.Columns() {
		var v any
		switch a := rec.Column(i).(type) {
		case *array.String:
			v = collect(n, false, a.Value)
		case *array.List:
			l := a.ListValues().(*array.String)
			v = collect(n, false, func(j int) []string {
				from, to := a.ValueOffsets(j)
				out := make([]string, 0, to-from)
				for k := from; k < to; k++ {
					out = append(out, l.Value(int(k)))
				}
				return out
			})
		case *array.Date32:
			v = collect(n, c.Nullable, func(j int) time.Time { return time.Unix(int64(a.Value(j))*86400, 0).UTC() })
		case *array.Timestamp:
			v = collect(n, c.Nullable, func(j int) time.Time { return time.UnixMilli(int64(a.Value(j))) })
		case *array.Int64:
			v = collect(n, c.Nullable, a.Value)
		case *array.Int32:
			v = collect(n, c.Nullable, a.Value)
		case *array.Uint8:
			v = collect(n, c.Nullable, a.Value)
		case *array.Boolean:
			v = collect(n, c.Nullable, a.Value)
		case *array.FixedSizeBinary:
			if c.Name == feed.ColVersion {
				v = collect(n, true, func(j int) big.Int {
					be := slices.Clone(a.Value(j))
					slices.Reverse(be)
					var x big.Int
					x.SetBytes(be)
					return x
				})
			} else {
				v = collect(n, c.Nullable, func(j int) string { return string(a.Value(j)) })
			}
		default:
			return fmt.Errorf("no slice for %T", a)
		}
		if err := batch.Column(i).Append(v); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return batch.Send()
}

func collect[T any](n int, pointers bool, at func(int) T) any {
	if pointers {
		all, out := make([]T, n), make([]*T, n)
		for i := range n {
			all[i] = at(i)
			out[i] = &all[i]
		}
		return out
	}
	out := make([]T, n)
	for i := range n {
		out[i] = at(i)
	}
	return out
}

func selfCPU() float64 {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()).Seconds()
}

func pidCPU(b *testing.B, pid int) float64 {
	cpu, err := usage.CPU(pid)
	require.NoError(b, err)
	return cpu.Seconds()
}

// BenchmarkNewest streams the newest versions of 1,048,576 records, as an
// assignment does before its first cut.
func BenchmarkNewest(b *testing.B) {
	s := fresh(b, "worker")
	spec := s.opt.Catalogue.Feed("worker")
	a := assign(b, s, 0)
	for i := range 8 {
		rec := build(memory.DefaultAllocator, spec, topic310, workers(i))
		require.NoError(b, a.Write(b.Context(), cut(spec, a, int64(i*benchRows), int64((i+1)*benchRows-1), rec)))
		rec.Release()
	}
	b.ResetTimer()
	n := 0
	for range b.N {
		require.NoError(b, a.Newest(b.Context(), spec, func([]byte, int32, flow.Version) error { n++; return nil }))
	}
	require.Equal(b, b.N*8*benchRows, n)
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "keys/s")
	keys := make([]flow.Known, 10000)
	for i, r := range workers(3)[:len(keys)] {
		keys[i] = flow.Known{RecordID: []byte(r.id), EffectiveFrom: r.day, Version: r.version}
	}
	start := time.Now()
	got, err := a.Stored(b.Context(), spec, keys)
	require.NoError(b, err)
	require.NotContains(b, got, false)
	b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms/10k-Stored")
}
