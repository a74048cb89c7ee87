package sink

import (
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/decimal128"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// catalogue loads the national contract, of it the named feeds (all when none
// is named), with text replaced in some files: file, old, new.
func catalogue(t testing.TB, names []string, edits ...string) *feed.Catalogue {
	t.Helper()
	files := fstest.MapFS{}
	require.NoError(t, fs.WalkDir(feeds.FS, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if name, ok := strings.CutSuffix(p, ".yaml"); ok && len(names) > 0 {
			if !strings.Contains(","+strings.Join(names, ",")+",", ","+name+",") {
				return nil
			}
		}
		b, err := fs.ReadFile(feeds.FS, p)
		files[p] = &fstest.MapFile{Data: b}
		return err
	}))
	for i := 0; i < len(edits); i += 3 {
		f := files[edits[i]]
		require.Contains(t, string(f.Data), edits[i+1])
		f.Data = []byte(strings.Replace(string(f.Data), edits[i+1], edits[i+2], 1))
	}
	c, err := feed.Load(files)
	require.NoError(t, err)
	return c
}

// shards is the cluster that databases are made on while TestOnACluster runs.
var shards *engine.Cluster

// emptyDatabase makes a database for one test and returns its DSN.
func emptyDatabase(t testing.TB) string {
	t.Helper()
	var l Layout
	dsn := ""
	if shards != nil {
		dsn, l.Cluster = shards.DSN(), engine.ClusterName
	} else {
		dsn = testenv.ClickHouse(t).DSN()
	}
	s, err := Open(t.Context(), Options{DSN: dsn, Catalogue: &feed.Catalogue{}})
	require.NoError(t, err)
	name := "t" + strings.ReplaceAll(uuid(), "-", "")
	require.NoError(t, s.exec(t.Context(), "CREATE DATABASE "+name+l.on(), nil))
	t.Cleanup(func() {
		require.NoError(t, s.exec(context.Background(), "DROP DATABASE "+name+l.on()+" SYNC", nil))
		s.Close()
	})
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	u.Path = "/" + name
	return u.String()
}

func open(t testing.TB, dsn string, c *feed.Catalogue, worker string) *Sink {
	t.Helper()
	cluster := ""
	if shards != nil {
		cluster = engine.ClusterName
	}
	s, err := Open(t.Context(), Options{DSN: dsn, Catalogue: c, Worker: worker, Revision: 7, Cluster: cluster})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// fresh is a migrated database of its own with some feeds.
func fresh(t testing.TB, names ...string) *Sink {
	t.Helper()
	s := open(t, emptyDatabase(t), catalogue(t, names), "w1")
	require.NoError(t, s.Migrate(t.Context()))
	return s
}

func value(t testing.TB, s *Sink, sql string) string {
	t.Helper()
	var out []string
	require.NoError(t, s.rows(t.Context(), "SELECT toString(tuple(*)) FROM ("+sql+")", nil, func(scan func(...any) error) error {
		var v string
		err := scan(&v)
		out = append(out, v)
		return err
	}))
	return strings.Join(out, "\n")
}

// record is one row to write; everything else in it follows from its id.
type record struct {
	id          string
	day         int32
	version     flow.Version
	deleted     bool
	outcome     flow.Outcome
	partition   int32
	incarnation int32
	offset      int64
	row         int32
	arrived     time.Time
}

var noon = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)

const topic310 = "duiwu.feed.310000"

// build makes a batch with the table schema.
func build(mem memory.Allocator, spec *feed.Spec, topic string, recs []record) arrow.Record {
	b := array.NewRecordBuilder(mem, flow.TableSchema(spec))
	defer b.Release()
	cols := spec.Columns()
	for _, r := range recs {
		if r.arrived.IsZero() {
			r.arrived = noon
		}
		for i, c := range cols {
			switch f := b.Field(i).(type) {
			case *array.StringBuilder:
				v := "v-" + r.id
				switch c.Name {
				case "reporting_unit":
					v = unitOf(topic)
				case "record_id":
					v = r.id
				case feed.ColTopic:
					v = topic
				case feed.ColOutcome:
					v = r.outcome.String()
				case feed.ColWarnings:
					v = ""
				default:
					if c.Store == feed.StoreCode {
						v = "0" + string('0'+byte(len(r.id)+i)%9)
					}
				}
				f.Append(v)
			case *array.ListBuilder:
				f.Append(true)
				f.ValueBuilder().(*array.StringBuilder).Append("1")
			case *array.Date32Builder:
				d := arrow.Date32(17000 + i)
				if c.Name == "effective_from" {
					d = arrow.Date32(r.day)
				}
				f.Append(d)
			case *array.TimestampBuilder:
				at := noon
				if c.Name == feed.ColArrived {
					at = r.arrived
				}
				f.Append(arrow.Timestamp(at.UnixMilli()))
			case *array.Int64Builder:
				v := int64(i)*1000 + int64(len(r.id))
				if c.Name == feed.ColOffset {
					v = r.offset
				}
				f.Append(v)
			case *array.Int32Builder:
				v := int32(1980)
				switch c.Name {
				case feed.ColPartition:
					v = r.partition
				case feed.ColIncarnation:
					v = r.incarnation
				case feed.ColRow:
					v = r.row
				}
				f.Append(v)
			case *array.Decimal128Builder:
				f.Append(decimal128.FromI64(75))
			case *array.BooleanBuilder:
				f.Append(true)
			case *array.Uint8Builder:
				v := uint8(0)
				if c.Name == feed.ColDeleted && r.deleted {
					v = 1
				}
				f.Append(v)
			case *array.FixedSizeBinaryBuilder:
				if c.Name == feed.ColVersion {
					f.Append(r.version[:])
					continue
				}
				token := make([]byte, 32)
				copy(token, fmt.Sprintf("%s-%d", r.id, i))
				f.Append(token)
			default:
				panic(fmt.Sprintf("no value for %T", f))
			}
		}
	}
	return b.NewRecord()
}

// version makes a version that differs by reported_at in seconds and by hash.
func version(second int64, hash uint64) flow.Version {
	return flow.MakeVersion(noon.UnixMilli()+1000*second, false, hash, 7)
}

// cut wraps records into a cut of one feed.
func cut(spec *feed.Spec, a *Assignment, first, last int64, rec arrow.Record) flow.Cut {
	c := flow.Cut{
		Span: flow.Span{Topic: a.Topic, Incarnation: a.Incarnation, Partition: a.Partition, First: first, Last: last},
		Unit: a.Unit, Arrived: noon, LastSum: uint64(last) + 1<<63, Tally: flow.Tally{},
	}
	if rec != nil {
		c.Parts = []flow.Batch{{Feed: spec, Rows: rec}}
		n := c.Tally.Of(spec.Feed, "b1")
		n.Received = rec.NumRows()
		n.By[flow.New] = rec.NumRows()
	}
	return c
}
