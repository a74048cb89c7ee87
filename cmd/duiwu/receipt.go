package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/duiwu/duiwu/ingest/push"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// runReceipt prints what became of one batch, from the database or from the
// unit's receipt topic.
func runReceipt(ctx context.Context, env *environment, args []string) error {
	var d database
	var c unitConfig
	fs := env.flags("receipt", "[--clickhouse DSN | --kafka BROKERS | --profile FILE] UNIT FEED BATCH")
	d.flags(fs)
	c.flags(fs)
	asJSON := fs.Bool("json", false, "print the receipt as JSON")
	rest, err := env.parseMixed(fs, args, 3, 3)
	if err != nil {
		return err
	}
	// Where the environment says one thing, the command line may say another.
	fs.Visit(func(f *flag.Flag) {
		if f.Name == "kafka" || f.Name == "profile" {
			d.dsn, d.file = "", ""
		}
	})
	r, err := readReceipt(ctx, env, &d, &c, rest[0], rest[1], rest[2])
	if errors.Is(err, flow.ErrNoReceipt) {
		return fmt.Errorf("nothing of batch %s of feed %s of unit %s has arrived: check the batch number, or wait a minute and ask again", rest[2], rest[1], rest[0])
	}
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(env.stdout).Encode(r)
	}
	return printReceipt(env.stdout, r, func(one *flow.RejectedRow) string {
		if one.Chunk < 0 {
			return fmt.Sprintf("row %d", one.Row)
		}
		return fmt.Sprintf("chunk %d row %d", one.Chunk, one.Row)
	})
}

func readReceipt(ctx context.Context, env *environment, d *database, c *unitConfig, unit, feedName, batch string) (*flow.Receipt, error) {
	if d.said() {
		s, err := d.open(ctx, env, hostname())
		if err != nil {
			return nil, err
		}
		defer s.Close()
		return s.Receipt(ctx, unit, feedName, batch)
	}
	if err := c.complete(); err != nil {
		return nil, err
	}
	if c.broker.brokers == "" {
		return nil, errors.New("say where to look: --clickhouse, or --kafka or --profile for the receipt topic")
	}
	broker, err := c.broker.open(env.warn)
	if err != nil {
		return nil, err
	}
	topic := push.NewTopic(broker, c.receipts, time.Time{})
	defer topic.Close()
	return topic.Receipt(ctx, unit, feedName, batch)
}

var outcomeZh = [flow.Outcomes]string{
	flow.New: "新增", flow.Unchanged: "内容未变", flow.Correction: "更正", flow.Superseded: "已有更新版本", flow.Conflict: "同一时刻内容不同",
	flow.Reprocessed: "重新处理", flow.Duplicate: "重复", flow.Rejected: "退回",
}

var statusZh = map[flow.Status]string{flow.Complete: "全部到达", flow.Partial: "部分到达", flow.Undeclared: "未声明行数"}

// shownRejects is how many refused records the terminal gets; --json has them all.
const shownRejects = 20

// printReceipt prints a receipt for people; place says where a refused record
// stands.
func printReceipt(out io.Writer, r *flow.Receipt, place func(*flow.RejectedRow) string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "batch 批次\t%s of feed %s of unit %s: %s %s\n", r.Batch, r.Feed, r.Unit, r.Status, statusZh[r.Status])
	if r.Declared > 0 {
		fmt.Fprintf(w, "declared 应有\t%d\n", r.Declared)
	}
	if len(r.Missing) > 0 {
		fmt.Fprintf(w, "missing 缺少\tchunks %s; push the batch again\n", strings.Trim(fmt.Sprint(r.Missing), "[]"))
	}
	fmt.Fprintf(w, "received 收到\t%d\n", r.Received)
	for o, n := range r.By {
		if n > 0 {
			fmt.Fprintf(w, "  %s %s\t%d\n", flow.Outcome(o), outcomeZh[o], n)
		}
	}
	counted := func(what string, m map[string]int64) {
		for _, id := range slices.Sorted(maps.Keys(m)) {
			fmt.Fprintf(w, "%s %s\t%d\n", what, id, m[id])
		}
	}
	counted("rejected by", r.Rules)
	counted("warned by", r.Warnings)
	if r.SHA256Differs {
		fmt.Fprintf(w, "SHA-256\ttwo different contents came under this batch id\n")
	}
	if err := w.Flush(); err != nil || len(r.Rejects) == 0 {
		return err
	}
	fmt.Fprintln(w, "退回的记录 refused:")
	for i := range r.Rejects[:min(shownRejects, len(r.Rejects))] {
		one := &r.Rejects[i]
		fmt.Fprintf(w, "  %s\t%s\t%s\n", place(one), broken(one.Findings), one.RecordID)
	}
	if left := int64(len(r.Rejects)-shownRejects) + r.RejectsOmitted; left > 0 {
		fmt.Fprintf(w, "  …… 另有 %d 条 %d more; --json lists them\n", left, left)
	}
	return w.Flush()
}

// broken names rules with their fields.
func broken(findings []flow.RejectedRule) string {
	var out []string
	for _, f := range findings {
		if f.Field == "" {
			out = append(out, f.Rule)
			continue
		}
		out = append(out, f.Field+":"+f.Rule)
	}
	return strings.Join(out, " ")
}

// clockOf is a moment as a clerk reads it.
func clockOf(t time.Time) string { return t.In(feed.Shanghai).Format("2006-01-02 15:04:05") }
