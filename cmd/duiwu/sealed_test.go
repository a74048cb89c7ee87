package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/push"
	"github.com/duiwu/duiwu/internal/flow"
)

// The life of a sealing key: made, used before the worker has it, known, turned
// over, given up.
func TestSealedFieldsFromTheFileToTheTable(t *testing.T) {
	p, dir := pushPath(t, 2)
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(at(name), []byte(text), 0o600))
	}
	read := func(name string) string {
		raw, err := os.ReadFile(at(name))
		require.NoError(t, err)
		return string(raw)
	}
	for _, key := range []string{"old", "new"} {
		require.NoError(t, p.run(t.Context(), "keys", "new", "seal", "--out", at(key+".secret"), "--public", at(key+".public")))
	}
	require.ErrorContains(t, p.run(t.Context(), "keys", "new", "seal", "--out", at("old.secret"), "--public", at("x.public")), "never written over")
	info, err := os.Stat(at("old.secret"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	id := strings.Fields(read("old.public"))[4]
	id = strings.TrimSuffix(id, ":")
	write("roster.csv", roster)
	args := []string{at("roster.csv"), "--feed", "worker", "--profile", at("profile.yaml"), "--as-of", "2016-11-30"}
	sealed := func(key string) []string { return append(args, "--seal-key", at(key+".public")) }

	// A worker without the key stops where the sealed records begin.
	stop := p.worker()
	first, err := p.file(append(sealed("old"), "--timeout", "5s")...)
	require.ErrorIs(t, err, errNotSent)
	require.True(t, first.Sent)
	require.Eventually(t, func() bool { return strings.Contains(p.log.String(), "partition stopped") }, 30*time.Second, 50*time.Millisecond)
	require.Contains(t, p.log.String(), id)
	require.Empty(t, p.lines("SELECT rule FROM quarantine"))
	stop()

	// With it, they come through, and nothing on the way was readable.
	write("ring", read("old.secret"))
	p.env["DUIWU_SEAL_KEYS"] = at("ring")
	stop = p.worker()
	again, err := p.file(sealed("old")...)
	require.NoError(t, err)
	require.Equal(t, first.Batch, again.Batch)
	require.EqualValues(t, 2, again.Receipt.By[flow.New])
	plain, err := p.file(append(args, "--anew")...)
	require.NoError(t, err)
	require.EqualValues(t, 2, plain.Receipt.By[flow.Unchanged], "sealed or in the clear, a record is the same record")

	// Turned over: the file gets both, then the units seal with the new one. The
	// worker runs on.
	write("ring", read("new.secret")+read("old.secret"))
	turned, err := p.file(append(sealed("new"), "--anew")...)
	require.NoError(t, err)
	require.EqualValues(t, 2, turned.Receipt.By[flow.Unchanged])
	stop()

	// Given up: what is still sealed with the old one comes back with its reason.
	write("ring", read("new.secret")+"retired "+id+"\n")
	p.worker()
	late, err := p.file(append(sealed("old"), "--anew")...)
	require.ErrorIs(t, err, errFindings)
	require.Equal(t, map[string]int64{"seal_key_retired": 2}, late.Receipt.Rules)
	require.True(t, late.Reconciled)
	require.Len(t, late.ToMend, 1)
	for _, number := range []string{"1199019800", "13812345678", "阿依古丽"} {
		require.NotContains(t, p.log.String(), number)
	}
}

// Receipts that changed while nobody published are published by the next one.
func TestReceiptsSurviveRestarts(t *testing.T) {
	p, _ := pushPath(t, 1)
	topic := p.env["DUIWU_RECEIPTS"]
	read := func(batch string) *flow.Receipt {
		r := push.NewTopic(p.kafka, topic, time.Time{})
		defer r.Close()
		out, err := r.Receipt(t.Context(), p.unit, "demo_site", batch)
		if err != nil {
			require.ErrorIs(t, err, flow.ErrNoReceipt)
			return nil
		}
		return out
	}
	published := func() (n int64) {
		ends, err := ingest.Ends(t.Context(), p.kafka, ingest.Topic(topic, p.unit))
		require.NoError(t, err)
		return ends[ingest.Topic(topic, p.unit)][0]
	}
	without := func(messages ...string) {
		p.env["DUIWU_RECEIPTS"] = "none"
		stop := p.worker()
		p.push(messages...)
		p.wait()
		stop()
		p.env["DUIWU_RECEIPTS"] = topic
	}
	without(demoSite("a"), demoSite("b", `"b1"`, `"b2"`))
	require.Zero(t, published())
	stop := p.worker()
	require.Eventually(t, func() bool { return read("b1") != nil && read("b2") != nil }, 30*time.Second, 100*time.Millisecond)
	stop()
	without(demoSite("c"), demoSite("d", `"b1"`, `"b3"`), demoSite("e", `"level":"1"`, `"level":"9"`))
	before := published()
	p.worker()
	require.Eventually(t, func() bool {
		one, three := read("b1"), read("b3")
		return three != nil && one.Received == 3 && one.By[flow.Rejected] == 1 && len(one.Rejects) == 1
	}, 30*time.Second, 100*time.Millisecond)
	// Quiet: nothing is published again.
	now := published()
	require.Greater(t, now, before)
	time.Sleep(7 * time.Second)
	require.Equal(t, now, published())
	require.Equal(t, []flow.RejectedRow{{Chunk: -1, RecordID: "e", Findings: []flow.RejectedRule{{Field: "level", Rule: "code_list"}}}}, read("b1").Rejects)
}
