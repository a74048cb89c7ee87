package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/sink"
)

// runQuarantine shows and mends what was refused.
func runQuarantine(ctx context.Context, env *environment, args []string) error {
	actions := map[string]func(context.Context, *environment, []string) error{
		"list": quarantineList, "explain": quarantineExplain, "replay": quarantineReplay,
	}
	if len(args) > 0 {
		if run := actions[args[0]]; run != nil {
			return run(ctx, env, args[1:])
		}
	}
	fmt.Fprint(env.stderr, `Usage:
  duiwu quarantine list    [flags]                            what stands refused, counted by unit, feed and rule
  duiwu quarantine explain [flags] TOPIC PARTITION OFFSET [ROW]  one refusal: why, what to do, what a replay would give
  duiwu quarantine replay  [flags] [--dry-run]                read the refused records again under today's feed files
`)
	return errUsage
}

// choiceFlags select refusals.
type choiceFlags struct {
	unit, feed, rule, batch, topic, since, until string
}

func (c *choiceFlags) flags(fs *flag.FlagSet) {
	fs.StringVar(&c.unit, "unit", "", "only of this reporting unit, such as 310000")
	fs.StringVar(&c.feed, "feed", "", "only of this feed")
	fs.StringVar(&c.rule, "rule", "", "only records that broke this rule, such as code_list")
	fs.StringVar(&c.batch, "batch", "", "only of this batch")
	fs.StringVar(&c.topic, "topic", "", "only of this topic")
	fs.StringVar(&c.since, "since", "", "only what arrived at or after this moment: 2016-11-30 or RFC 3339")
	fs.StringVar(&c.until, "until", "", "only what arrived before this moment")
}

func (c *choiceFlags) choice() (sink.Choice, error) {
	out := sink.Choice{Unit: c.unit, Feed: c.feed, Rule: c.rule, Batch: c.batch, Topic: c.topic}
	if c.rule != "" {
		if _, ok := feed.RuleNamed(c.rule); !ok {
			return out, fmt.Errorf("no rule %q; duiwu show rules lists them", c.rule)
		}
	}
	for _, m := range []struct {
		name, text string
		at         *time.Time
	}{{"--since", c.since, &out.Since}, {"--until", c.until, &out.Until}} {
		if m.text == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339, m.text)
		if err != nil {
			t, err = time.ParseInLocation(time.DateOnly, m.text, feed.Shanghai)
		}
		if err != nil {
			return out, fmt.Errorf("%s %q is no moment: write 2016-11-30 or 2016-11-30T20:00:00+08:00", m.name, m.text)
		}
		*m.at = t
	}
	return out, nil
}

// quarantineList prints counts, and rows when they are asked for.
func quarantineList(ctx context.Context, env *environment, args []string) error {
	var d database
	var c choiceFlags
	fs := env.flags("quarantine list", "[flags]")
	d.flags(fs)
	c.flags(fs)
	rows := fs.Int("rows", 0, "also print this many of the records")
	asJSON := fs.Bool("json", false, "print one JSON object")
	if _, err := env.parse(fs, args, 0, 0); err != nil {
		return err
	}
	choice, err := c.choice()
	if err != nil {
		return err
	}
	s, err := d.open(ctx, env, hostname())
	if err != nil {
		return err
	}
	defer s.Close()
	counts, err := s.CountRefused(ctx, choice)
	if err != nil {
		return err
	}
	var list []refusedRow
	if *rows > 0 {
		err := s.Refused(ctx, choice, *rows, func(x sink.Refused) error {
			list = append(list, rowOf(x))
			return nil
		})
		if err != nil {
			return err
		}
	}
	if *asJSON {
		type count struct {
			Unit    string    `json:"unit"`
			Feed    string    `json:"feed"`
			Rule    string    `json:"rule"`
			Records uint64    `json:"records"`
			Batches uint64    `json:"batches"`
			First   time.Time `json:"first_arrived_at"`
			Last    time.Time `json:"last_arrived_at"`
		}
		out := struct {
			Records uint64       `json:"records"`
			Counts  []count      `json:"counts"`
			Rows    []refusedRow `json:"rows,omitempty"`
		}{Counts: []count{}, Rows: list}
		for _, n := range counts {
			out.Records += n.Records
			out.Counts = append(out.Counts, count(n))
		}
		return printJSON(env.stdout, out)
	}
	return printRefused(env.stdout, counts, list)
}

// refusedRow is a refusal as it is shown.
type refusedRow struct {
	Topic     string       `json:"topic"`
	Partition int32        `json:"partition"`
	Offset    int64        `json:"offset"`
	Row       int32        `json:"row"`
	Unit      string       `json:"unit"`
	Feed      string       `json:"feed"`
	Batch     string       `json:"batch"`
	RecordID  string       `json:"record_id"`
	Findings  []brokenRule `json:"findings"`
	ArrivedAt time.Time    `json:"arrived_at"`
	Run       string       `json:"replayed_by,omitempty"`
}

// brokenRule is one finding in the words for people.
type brokenRule struct {
	Field     string `json:"field"`
	Rule      string `json:"rule"`
	MessageZh string `json:"message_zh"`
	MessageEn string `json:"message_en"`
}

func ruleOf(field, rule string) brokenRule {
	f := brokenRule{Field: field, Rule: rule}
	if r, ok := feed.RuleNamed(rule); ok {
		name := func(whole string) string {
			if field == "" {
				return whole
			}
			return field
		}
		f.MessageZh = strings.ReplaceAll(r.Info().Zh, "{field}", name("记录"))
		f.MessageEn = strings.ReplaceAll(r.Info().En, "{field}", name("the record"))
	}
	return f
}

func rowOf(x sink.Refused) refusedRow {
	out := refusedRow{x.Topic, x.Partition, x.Offset, x.Row, x.Unit, x.Feed, x.Batch, x.RecordID, []brokenRule{}, x.ArrivedAt, x.Run}
	for i, r := range x.Rules {
		out.Findings = append(out.Findings, ruleOf(x.Fields[i], r))
	}
	return out
}

func (r *refusedRow) why() string {
	var parts []string
	for _, f := range r.Findings {
		if f.Field == "" {
			parts = append(parts, f.Rule)
		} else {
			parts = append(parts, f.Field+":"+f.Rule)
		}
	}
	return strings.Join(parts, " ")
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

const minute = "2006-01-02 15:04"

func or(text, empty string) string {
	if text == "" {
		return empty
	}
	return text
}

func printRefused(out io.Writer, counts []sink.RefusedCount, rows []refusedRow) error {
	if len(counts) == 0 {
		_, err := fmt.Fprintln(out, "nothing stands refused")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "unit\tfeed\trule\trecords\tbatches\tfirst arrived\tlast arrived")
	var all uint64
	for _, n := range counts {
		all += n.Records
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\t%s\n", n.Unit, or(n.Feed, "(unknown)"), n.Rule, n.Records, n.Batches,
			n.First.In(feed.Shanghai).Format(minute), n.Last.In(feed.Shanghai).Format(minute))
	}
	fmt.Fprintf(w, "total\t\t\t%d\n", all)
	if len(rows) > 0 {
		fmt.Fprintln(w, "\ntopic\tpartition\toffset\trow\tfeed\tbatch\trecord\twhy")
		for _, r := range rows {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\t%s\t%s\n", r.Topic, r.Partition, r.Offset, r.Row, or(r.Feed, "(unknown)"), or(r.Batch, "-"), or(r.RecordID, "-"), r.why())
		}
	}
	return w.Flush()
}

// quarantineReplay reads the refused records again.
func quarantineReplay(ctx context.Context, env *environment, args []string) error {
	var c replayConfig
	var f choiceFlags
	fs := env.flags("quarantine replay", "[flags] [--dry-run]")
	c.flags(fs)
	f.flags(fs)
	if _, err := env.parse(fs, args, 0, 0); err != nil {
		return err
	}
	choice, err := f.choice()
	if err != nil {
		return err
	}
	r, err := c.open(ctx, env)
	if err != nil {
		return err
	}
	defer r.close(ctx)
	places, err := r.sink.RefusedPlaces(ctx, choice)
	if err != nil {
		return err
	}
	var hold *sink.Replay
	for _, place := range places {
		if place.Incarnation != place.Now {
			r.report.Gone += int64(place.Records)
			continue
		}
		if hold == nil || hold.Topic != place.Topic {
			if hold, err = r.topic(ctx, place.Topic); err != nil {
				return err
			}
		}
		if err := r.quarantined(ctx, hold, place.Partition, choice); err != nil {
			return err
		}
	}
	return r.finish(ctx, env.stdout)
}

// quarantined replays the chosen refusals of one partition.
func (r *replayer) quarantined(ctx context.Context, hold *sink.Replay, partition int32, c sink.Choice) error {
	p, err := r.partition(ctx, hold, partition)
	if err != nil {
		return err
	}
	defer p.log.Close()
	c.Topic, c.Partition = hold.Topic, &partition
	for from := int64(0); from >= 0; {
		c.From = &from
		refused, err := r.refused(ctx, c, hold.Incarnation, replayPiece)
		if err != nil {
			return err
		}
		offsets := slices.Sorted(maps.Keys(offsetsOf(refused)))
		next := int64(-1)
		if n := len(offsets); len(refused) == replayPiece && n > 1 {
			// The last message may go on in the next piece.
			next, offsets = offsets[n-1], offsets[:n-1]
		}
		var held []int64
		for _, o := range offsets {
			if o >= p.log.Start {
				held = append(held, o)
			}
		}
		for at := range refused {
			if at.Offset < p.log.Start && at.Offset != next {
				r.report.Gone++
			}
		}
		if err := r.offsets(ctx, p, held, refused, false); err != nil {
			return err
		}
		from = next
	}
	return nil
}

func offsetsOf(refused map[ingest.Position]sink.Refused) map[int64]bool {
	out := map[int64]bool{}
	for at := range refused {
		out[at.Offset] = true
	}
	return out
}

// explanation is what is known of one refusal.
type explanation struct {
	refusedRow
	Kept json.RawMessage `json:"kept,omitempty"`
	// Held says whether Kafka still holds the message: yes, no, or unknown.
	Held string `json:"held"`
	// Today is what a replay under this release and these feed files would give.
	Today         string       `json:"today"`
	TodayFindings []brokenRule `json:"today_findings,omitempty"`
	TodoZh        string       `json:"todo_zh"`
	TodoEn        string       `json:"todo_en"`
}

// quarantineExplain tells everything about one refusal.
func quarantineExplain(ctx context.Context, env *environment, args []string) error {
	var c replayConfig
	fs := env.flags("quarantine explain", "[flags] TOPIC PARTITION OFFSET [ROW]")
	c.flags(fs)
	rest, err := env.parseMixed(fs, args, 3, 4)
	if err != nil {
		return err
	}
	number := func(i, bits int, what string) (n int64) {
		if i < len(rest) && err == nil {
			if n, err = strconv.ParseInt(rest[i], 10, bits); err != nil {
				err = fmt.Errorf("%s %q is no number", what, rest[i])
			}
		}
		return n
	}
	partition, offset, row := int32(number(1, 32, "partition")), number(2, 64, "offset"), int32(number(3, 32, "row"))
	if err != nil {
		return err
	}
	s, err := c.database.open(ctx, env, hostname())
	if err != nil {
		return err
	}
	defer s.Close()
	var found []sink.Refused
	err = s.Refused(ctx, sink.Choice{Topic: rest[0], Partition: &partition, From: &offset, To: &offset}, 0, func(x sink.Refused) error {
		if x.Row == row || len(rest) == 3 {
			found = append(found, x)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("no refusal stands at offset %d of %s/%d: it was accepted, replayed, or never read; duiwu quarantine list --topic %s --rows 20 shows what stands", offset, rest[0], partition, rest[0])
	}
	x := found[len(found)-1] // of the newest incarnation
	if len(rest) == 3 {
		x = found[0]
	}
	e := explanation{refusedRow: rowOf(x)}
	if x.Kept != "" {
		e.Kept = json.RawMessage(x.Kept)
	}
	if err := c.today(ctx, env, s, x, &e); err != nil {
		return err
	}
	e.todo(x)
	if c.json {
		return printJSON(env.stdout, e)
	}
	return e.print(env.stdout, x, len(found))
}

// today asks Kafka for the message and the steps for their verdict.
func (c *replayConfig) today(ctx context.Context, env *environment, s *sink.Sink, x sink.Refused, e *explanation) error {
	if c.broker.brokers == "" {
		e.Held, e.Today = "unknown", "unknown: give --kafka to ask whether the message is still there"
		return nil
	}
	cat, err := catalogue(c.feeds)
	if err != nil {
		return err
	}
	hold, err := s.Rehearse(ctx, x.Topic)
	if err != nil {
		return err
	}
	if hold.Incarnation != x.Incarnation {
		e.Held, e.Today = "no", "nothing: the topic was made anew since"
		return nil
	}
	broker, err := c.broker.open(env.warn)
	if err != nil {
		return err
	}
	clock, err := c.judge.clock()
	if err != nil {
		return err
	}
	seals, err := readSealKeys(c.judge.sealKeys)
	if err != nil {
		return err
	}
	log, err := ingest.OpenReread(ctx, &broker, x.Topic, hold.Unit, x.Partition, ingest.Options{Catalogue: cat, Clock: clock, Seals: seals})
	if err != nil {
		return err
	}
	defer log.Close()
	in, err := log.Read(ctx, []int64{x.Offset}, nil)
	if err != nil {
		return err
	}
	if len(in.Gone) > 0 {
		e.Held, e.Today = "no", "nothing: Kafka no longer holds the message"
		return nil
	}
	e.Held = "yes"
	if c.judge.tokenKeys == "" || c.judge.hashKey == "" {
		in.Cut.Release()
		e.Today = "unknown: give --token-keys and --hash-key to judge it again"
		return nil
	}
	j, err := c.judge.judge(cat)
	if err != nil {
		in.Cut.Release()
		return err
	}
	defer j.release()
	if err := j.forgets(ctx, s); err != nil {
		in.Cut.Release()
		return err
	}
	out, err := j.judge(ctx, in, x.Incarnation, hold.Versions)
	if err != nil {
		return err
	}
	defer out.cut.Release()
	v, ok := out.verdicts[ingest.Position{Offset: x.Offset, Row: x.Row}]
	switch {
	case !ok:
		e.Today = "rejected: the message can no longer be read as records"
	case v.reject != nil:
		e.Today = "rejected"
		for _, f := range v.reject.Findings {
			e.TodayFindings = append(e.TodayFindings, ruleOf(f.Field, f.Rule.String()))
		}
	case x.Whole:
		by := map[string]int{}
		for _, v := range out.verdicts {
			by[v.outcome.String()]++
		}
		var parts []string
		for _, o := range slices.Sorted(maps.Keys(by)) {
			parts = append(parts, fmt.Sprintf("%d %s", by[o], o))
		}
		e.Today = fmt.Sprintf("readable now, %d records: %s", len(out.verdicts), strings.Join(parts, ", "))
	default:
		e.Today = v.outcome.String()
	}
	return nil
}

// todo says who has to do what.
func (e *explanation) todo(x sink.Refused) {
	accepted := e.Held == "yes" && len(e.TodayFindings) == 0 && !strings.HasPrefix(e.Today, "rejected") && !strings.HasPrefix(e.Today, "unknown")
	switch {
	case accepted && e.Today == flow.Duplicate.String():
		e.TodoZh = "同一记录的同一版本已经入库，重放只会将其计为重复；单位无须再报。"
		e.TodoEn = "The same version of the record is stored already; a replay would only count it as duplicate. The unit need not send anything."
	case accepted:
		e.TodoZh = "按现行目录已可接收：先用 --dry-run 预演，再执行重放；单位无须再报。"
		e.TodoEn = "Today's feed files accept it: look with --dry-run, then replay it. The unit need not send it again."
	case e.Held == "no":
		e.TodoZh = "消息已超出 Kafka 保留期，请报送单位改正后重新报送。"
		e.TodoEn = "The message has left Kafka: ask the unit to mend it and send it again."
	default:
		e.TodoZh = "请报送单位按上述说明改正后重新报送（报送时间须更新）；若是目录或代码表有误，先改正目录，再重放。"
		e.TodoEn = "Ask the unit to mend it as said above and send it again with a new reported_at; if the feed file or a code list is at fault, mend that and replay."
	}
}

func (e *explanation) print(out io.Writer, x sink.Refused, rows int) error {
	fmt.Fprintf(out, "%s/%d offset %d row %d, unit %s, feed %s, batch %s, record %s\n", e.Topic, e.Partition, e.Offset, e.Row,
		e.Unit, or(e.Feed, "(unknown)"), or(e.Batch, "(not kept)"), or(e.RecordID, "(not kept)"))
	fmt.Fprintf(out, "arrived %s\n", e.ArrivedAt.In(feed.Shanghai).Format(time.DateTime))
	if x.Whole {
		fmt.Fprintln(out, "the whole message was refused and counts as one record")
	}
	if rows > 1 {
		fmt.Fprintf(out, "%d records of this message stand refused; name the ROW to see another\n", rows)
	}
	fmt.Fprintln(out, "\nwhy it was refused 拒收原因")
	printFindings(out, e.Findings)
	if e.Kept != nil {
		fmt.Fprintf(out, "\nfields kept 留存字段（不含个人信息）\n  %s\n", e.Kept)
	}
	fmt.Fprintf(out, "\nstill in Kafka: %s\nunder today's feed files: %s\n", e.Held, e.Today)
	printFindings(out, e.TodayFindings)
	_, err := fmt.Fprintf(out, "\nwhat to do 处理\n  %s\n  %s\n", e.TodoZh, e.TodoEn)
	return err
}

func printFindings(out io.Writer, all []brokenRule) {
	for _, f := range all {
		fmt.Fprintf(out, "  %s  %s\n    %s\n    %s\n", or(f.Field, "(record)"), f.Rule, f.MessageZh, f.MessageEn)
	}
}
