package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"
	"github.com/grafana/grafana-plugin-sdk-go/genproto/pluginv2"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/duiwu/duiwu/charts/internal/chartstest"
)

// cut writes a ledger row of a unit at a time before the clock's.
func cut(t *testing.T, db *chartstest.DB, unit string, rows int, ago time.Duration) {
	t.Helper()
	at := time.Now().Add(-ago).UTC().Format("2006-01-02 15:04:05.000")
	db.Exec(t, fmt.Sprintf("INSERT INTO ledger SELECT 'duiwu.feed.%s', 0, 0, 0, 9, 'cut', %d, toDateTime64('%s', 3, 'UTC')", unit, rows, at))
}

func TestLiveTellsRateAndAge(t *testing.T) {
	db := chartstest.New(t, "charts_live")
	d := open(t, Config{URL: db.DSN()})
	cut(t, db, "310000", 600, 30*time.Second)
	cut(t, db, "310000", 9999, 30*time.Minute)
	cut(t, db, "440000", 60, 45*time.Second)
	cut(t, db, "110000", 7, 26*time.Hour)
	newest := func(f *data.Frame, name string) *float64 {
		for _, x := range f.Fields {
			if x.Config != nil && x.Config.DisplayNameFromDS == name {
				return x.At(x.Len() - 1).(*float64)
			}
		}
		t.Fatalf("no line %s", name)
		return nil
	}
	f := ask(t, d, `{"queryType":"list","list":"rate","lang":"zh"}`)
	require.Len(t, f.Fields, 33, "time and a line a unit")
	require.Equal(t, 60, f.Rows())
	require.InDelta(t, 600, *newest(f, "上海"), 0)
	require.InDelta(t, 60, *newest(f, "广东"), 0)
	require.InDelta(t, 0, *newest(f, "北京"), 0)
	require.InDelta(t, 660, *newest(ask(t, d, `{"queryType":"list","list":"rate_nation","lang":"zh"}`), "全国"), 0)
	ages := ask(t, d, `{"queryType":"list","list":"age","lang":"zh"}`)
	require.Equal(t, 1, ages.Rows())
	require.InDelta(t, 30, *newest(ages, "上海"), 5)
	require.InDelta(t, 26*3600, *newest(ages, "北京"), 5)
	require.Nil(t, newest(ages, "西藏"), "never is not zero seconds ago")
	require.InDelta(t, 30, *newest(ask(t, d, `{"queryType":"list","list":"age_nation","lang":"zh"}`), "全国"), 5)
	one := ask(t, d, `{"queryType":"list","list":"rate","filter":{"units":["440000"]}}`)
	require.Len(t, one.Fields, 2)
	require.Equal(t, 1, d.pulses.asks, "six panels within a beat are one statement")
	// Without a Grafana there is no channel to hear the rest on.
	require.Empty(t, f.Meta.Channel)
}

// No path is a channel but those that are known, nobody publishes, and one call
// decides who may look.
func TestChannelsDenyByDefault(t *testing.T) {
	d := open(t, Config{URL: "http://127.0.0.1:1/duiwu", Today: today})
	status := func(path string) backend.SubscribeStreamStatus {
		res, err := d.SubscribeStream(t.Context(), &backend.SubscribeStreamRequest{Path: path})
		require.NoError(t, err)
		return res.Status
	}
	for _, path := range []string{"rate/nation", "rate/units", "age/nation", "age/units", "age/310000", "rate/660000"} {
		require.Equal(t, backend.SubscribeStreamStatusOK, status(path), path)
	}
	for _, path := range []string{"", "/", "rate", "rate/", "rate/units/", "rate/units/310000", "rate/710000", "rate/000000", "rows/units", "RATE/units", "rate/units?x=1", "../rate/units"} {
		require.Equal(t, backend.SubscribeStreamStatusNotFound, status(path), path)
		require.ErrorContains(t, d.RunStream(t.Context(), &backend.RunStreamRequest{Path: path}, nil), "there is none of that name", path)
	}
	p, err := d.PublishStream(t.Context(), &backend.PublishStreamRequest{Path: "rate/units"})
	require.NoError(t, err)
	require.Equal(t, backend.PublishStreamStatusPermissionDenied, p.Status)
}

// streamsOverGRPC watches channels as Grafana does: it subscribes, then runs.
func streamsOverGRPC(t *testing.T, addr string, pc backend.PluginContext, db *chartstest.DB, made func() *Datasource) {
	t.Helper()
	cut(t, db, "310000", 600, 30*time.Second)
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	client := pluginv2.NewStreamClient(conn)
	wire := backend.ToProto().PluginContext(pc)
	sub, err := client.SubscribeStream(t.Context(), &pluginv2.SubscribeStreamRequest{PluginContext: wire, Path: "rate/units"})
	require.NoError(t, err)
	require.Equal(t, pluginv2.SubscribeStreamResponse_OK, sub.Status)
	sub, err = client.SubscribeStream(t.Context(), &pluginv2.SubscribeStreamRequest{PluginContext: wire, Path: "persons/units"})
	require.NoError(t, err)
	require.Equal(t, pluginv2.SubscribeStreamResponse_NOT_FOUND, sub.Status)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	channels := []string{"rate/units", "rate/nation", "rate/310000", "age/units", "age/nation"}
	const beats = 3
	for _, path := range channels {
		wg.Go(func() {
			run, err := client.RunStream(ctx, &pluginv2.RunStreamRequest{PluginContext: wire, Path: path})
			if err != nil {
				t.Error(err)
				return
			}
			for range beats {
				packet, err := run.Recv()
				if err != nil {
					t.Errorf("%s: %v", path, err)
					return
				}
				var f data.Frame
				if err := json.Unmarshal(packet.Data, &f); err != nil || f.Rows() != 1 {
					t.Errorf("%s: %d rows, %v", path, f.Rows(), err)
				}
				if strings.HasSuffix(path, "units") && len(f.Fields) != 33 {
					t.Errorf("%s has %d fields", path, len(f.Fields))
				}
			}
		})
	}
	wg.Wait()
	cancel()
	require.LessOrEqual(t, made().asked(), beats+2, "five channels share one statement a beat")
}

func (d *Datasource) asked() int {
	d.pulses.mu.Lock()
	defer d.pulses.mu.Unlock()
	return d.pulses.asks
}
