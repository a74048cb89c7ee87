package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/duiwu/duiwu/charts/indicators"
	metric "github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/seal"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/sink"
)

// replayConfig is what both replays are told.
type replayConfig struct {
	database
	broker     brokerConfig
	judge      judgeConfig
	dry, json  bool
	by, reason string
	asOf       string
	chunk      int
}

func (c *replayConfig) flags(fs *flag.FlagSet) {
	c.database.flags(fs)
	c.broker.flags(fs)
	c.judge.flags(fs)
	fs.BoolVar(&c.dry, "dry-run", false, "say what would change, and change nothing")
	fs.BoolVar(&c.json, "json", false, "print one JSON object")
	fs.StringVar(&c.by, "by", "", "your name, kept in the ledger")
	fs.StringVar(&c.reason, "reason", "", "why, kept in the ledger")
	fs.StringVar(&c.asOf, "as-of", "", "day of the national figures in a dry run; default today")
	fs.IntVar(&c.chunk, "chunk", 20000, "records judged and written at a time")
}

// replayer reads positions again and settles what becomes of them.
type replayer struct {
	config *replayConfig
	cat    *feed.Catalogue
	sink   *sink.Sink
	broker ingest.Broker
	judge  *judge
	seals  *seal.Ring
	log    *slog.Logger
	run    string
	// scratch holds the rows of a dry run; nil in a replay that writes.
	scratch *sink.Scratch
	report  replayReport
	changes map[change]int64
	checked map[string]bool // feeds whose rows were compared with the keys
}

// change is a way that records went.
type change struct{ Unit, Feed, Was, Now string }

// replayReport is what a replay says of itself.
type replayReport struct {
	Run    string `json:"run,omitempty"`
	DryRun bool   `json:"dry_run"`
	// Looked is how many records were asked for, Moved how many refusals ended.
	Looked  int64          `json:"looked"`
	Moved   int64          `json:"moved"`
	Changes []replayChange `json:"changes"`
	// Gone is how many Kafka holds no longer, or under another incarnation.
	Gone int64 `json:"gone"`
	// Outside is how many offsets of a span no effective cut accounts for.
	Outside int64          `json:"outside,omitempty"`
	AsOf    string         `json:"as_of,omitempty"`
	Figures []figureChange `json:"figures,omitempty"`
}

type replayChange struct {
	Unit    string `json:"unit"`
	Feed    string `json:"feed"`
	Was     string `json:"was"`
	Now     string `json:"now"`
	Records int64  `json:"records"`
}

type figureChange struct {
	ID     string   `json:"id"`
	Zh     string   `json:"zh"`
	En     string   `json:"en"`
	Before *float64 `json:"before"`
	After  *float64 `json:"after"`
}

// open connects and reads the keys. The caller calls close.
func (c *replayConfig) open(ctx context.Context, env *environment) (*replayer, error) {
	if !c.dry && (c.by == "" || c.reason == "") {
		return nil, errors.New("give --by NAME and --reason TEXT: who replays and why is kept in the ledger (or look first with --dry-run)")
	}
	if c.broker.brokers == "" {
		return nil, errors.New("no broker: give --kafka or DUIWU_KAFKA; a replay reads Kafka again")
	}
	if c.chunk < 1 || c.chunk > 131072 {
		return nil, fmt.Errorf("--chunk %d is not between 1 and 131072", c.chunk)
	}
	r := &replayer{config: c, changes: map[change]int64{}, checked: map[string]bool{}}
	var err error
	if r.log, err = env.logger(c.logLevel); err != nil {
		return nil, err
	}
	if r.cat, err = catalogue(c.feeds); err != nil {
		return nil, err
	}
	if r.broker, err = c.broker.open(env.warn); err != nil {
		return nil, err
	}
	if r.seals, err = readSealKeys(c.judge.sealKeys); err != nil {
		return nil, err
	}
	if r.judge, err = c.judge.judge(r.cat); err != nil {
		return nil, err
	}
	c.database.keys = r.judge.keys
	who := c.by
	if who == "" {
		who = hostname()
	}
	if r.sink, err = c.database.open(ctx, env, who); err != nil {
		r.judge.release()
		return nil, err
	}
	if err := r.judge.forgets(ctx, r.sink); err != nil {
		r.close(ctx)
		return nil, err
	}
	r.report.DryRun = c.dry
	if c.dry {
		r.scratch = r.sink.Scratch()
	} else {
		r.run = sink.NewRun(time.Now())
		r.report.Run = r.run
	}
	return r, nil
}

func (r *replayer) close(ctx context.Context) {
	if r.scratch != nil {
		if err := r.scratch.Close(context.WithoutCancel(ctx)); err != nil {
			r.log.Warn("cannot close the scratch session; the server forgets it by itself", "error", err)
		}
	}
	r.judge.release()
	r.sink.Close()
}

// topic begins the replay of one topic.
func (r *replayer) topic(ctx context.Context, topic string) (*sink.Replay, error) {
	if r.config.dry {
		return r.sink.Rehearse(ctx, topic)
	}
	return r.sink.Replay(ctx, topic, r.run, r.config.by, r.config.reason)
}

// place is one partition that is read again.
type replayPlace struct {
	hold      *sink.Replay
	partition int32
	spans     []sink.LedgerSpan
	log       *ingest.Reread
}

// partition connects to a partition and makes sure that the log is the one the
// ledger knows and that the keys are those of the workers. The caller closes log.
func (r *replayer) partition(ctx context.Context, hold *sink.Replay, partition int32) (*replayPlace, error) {
	spans, err := r.sink.Spans(ctx, hold.Topic, partition)
	if err != nil {
		return nil, err
	}
	log, err := ingest.OpenReread(ctx, &r.broker, hold.Topic, hold.Unit, partition, ingest.Options{
		Catalogue: r.cat, Log: r.log, Clock: r.judge.clock, Seals: r.seals, Limits: ingest.Limits{Rows: r.config.chunk},
	})
	if err != nil {
		return nil, err
	}
	p := &replayPlace{hold: hold, partition: partition, spans: spans, log: log}
	if err = sameLog(ctx, log, spans); err == nil {
		err = r.sameKeys(ctx, p)
	}
	if err != nil {
		log.Close()
		return nil, err
	}
	return p, nil
}

// anewError says that a log is not the one that the ledger knows.
type anewError struct{ topic, why string }

func (e *anewError) Error() string {
	return fmt.Sprintf("topic %s was made anew or cut short: %s; duiwu doctor says what to do", e.topic, e.why)
}

// sameLog compares the last message that the ledger knows with the log: an
// *anewError when another stands there.
func sameLog(ctx context.Context, log *ingest.Reread, spans []sink.LedgerSpan) error {
	if len(spans) == 0 {
		return nil
	}
	last := spans[len(spans)-1]
	if last.Last >= log.End {
		return &anewError{last.Topic, fmt.Sprintf("partition %d ends at offset %d and the ledger at %d", last.Partition, log.End-1, last.Last)}
	}
	if last.LastSum == 0 || last.Skipped {
		return nil
	}
	sum, ok, err := log.Sum(ctx, last.Last)
	if err != nil {
		return err
	}
	if ok && sum != last.LastSum {
		return &anewError{last.Topic, fmt.Sprintf("another message stands at offset %d of partition %d than the ledger holds", last.Last, last.Partition)}
	}
	return nil
}

// sampled is how many of the newest messages are compared with what the workers
// made of them.
const sampled = 50

// sameKeys makes the newest rows anew and compares them with the tables: with
// other keys a replay would store people under tokens that nobody else uses.
func (r *replayer) sameKeys(ctx context.Context, p *replayPlace) error {
	for i := len(p.spans) - 1; i >= 0; i-- {
		s := p.spans[i]
		if s.Skipped || s.Last < p.log.Start {
			continue
		}
		offsets := span(max(s.First, s.Last-sampled+1, p.log.Start), s.Last)
		trouble, compared, err := compareKeys(ctx, r.sink, r.judge, p.log, p.hold.Incarnation, offsets, r.checked)
		if err != nil {
			return err
		}
		if trouble != nil {
			return fmt.Errorf("cannot replay %s: %w; use the key files of the workers", p.hold.Topic, trouble)
		}
		if compared > 0 {
			return nil
		}
	}
	return nil
}

// compareKeys judges some offsets as if nothing were known and compares the rows
// with those in the tables.
func compareKeys(ctx context.Context, s *sink.Sink, j *judge, log *ingest.Reread, incarnation int32, offsets []int64, checked map[string]bool) (trouble *sink.KeyTrouble, compared uint64, err error) {
	in, err := log.Read(ctx, offsets, nil)
	if err != nil {
		return nil, 0, err
	}
	out, err := j.judge(ctx, in, incarnation, nothing)
	if err != nil {
		return nil, 0, err
	}
	defer out.cut.Release()
	for _, part := range out.cut.Parts {
		if checked[part.Feed.Feed] {
			compared++
			continue
		}
		n, err := s.SameKeys(ctx, part)
		if errors.As(err, &trouble) {
			return trouble, n, nil
		}
		if err != nil {
			return nil, 0, err
		}
		checked[part.Feed.Feed] = n > 0
		compared += n
	}
	return nil, compared, nil
}

func span(first, last int64) []int64 {
	out := make([]int64, 0, max(0, last-first+1))
	for o := first; o <= last; o++ {
		out = append(out, o)
	}
	return out
}

// cut finds the effective cut that holds an offset.
func (p *replayPlace) cut(offset int64) (sink.LedgerSpan, bool) {
	i := sort.Search(len(p.spans), func(i int) bool { return p.spans[i].Last >= offset })
	if i == len(p.spans) || p.spans[i].First > offset || p.spans[i].Skipped {
		return sink.LedgerSpan{}, false
	}
	return p.spans[i], true
}

// offsets replays some offsets of a partition. refused are the refusals that
// stand there; only they are looked at unless all is set.
func (r *replayer) offsets(ctx context.Context, p *replayPlace, offsets []int64, refused map[ingest.Position]sink.Refused, all bool) error {
	keep := func(at ingest.Position) bool {
		if _, ok := refused[at]; ok || all {
			return true
		}
		return refused[ingest.Position{Offset: at.Offset}].Whole
	}
	for len(offsets) > 0 {
		in, err := p.log.Read(ctx, offsets, keep)
		if err != nil {
			return err
		}
		if err := r.settle(ctx, p, in, offsets[:in.Done], refused); err != nil {
			return err
		}
		offsets = offsets[in.Done:]
	}
	return nil
}

// settle judges one reading and writes what changes.
func (r *replayer) settle(ctx context.Context, p *replayPlace, in *ingest.Reading, offsets []int64, refused map[ingest.Position]sink.Refused) error {
	out, err := r.judge.judge(ctx, in, p.hold.Incarnation, p.hold.Versions)
	if err != nil {
		return err
	}
	defer out.cut.Release()
	chunk := sink.Chunk{Partition: p.partition, First: offsets[0], Last: offsets[len(offsets)-1], Parts: out.cut.Parts, At: out.cut.Arrived}
	places := make([]ingest.Position, 0, len(out.verdicts))
	for at := range out.verdicts {
		places = append(places, at)
	}
	slices.SortFunc(places, func(a, b ingest.Position) int {
		if a.Offset != b.Offset {
			return int(min(1, max(-1, a.Offset-b.Offset)))
		}
		return int(a.Row - b.Row)
	})
	for _, at := range places {
		r.report.Looked++
		rec := in.Records[at]
		was := refused[at]
		whole := refused[ingest.Position{Offset: at.Offset}]
		if n := settled(at, rec, out.verdicts[at], was, whole); n != nil {
			if n.Kind == sink.Again {
				cut, ok := p.cut(at.Offset)
				if !ok {
					panic(fmt.Sprintf("BUG: offset %d of %s/%d is replayed and lies in no cut", at.Offset, p.hold.Topic, p.partition))
				}
				n.First, n.Epoch, n.ArrivedAt = cut.First, cut.Epoch, cut.ArrivedAt
			}
			if c := out.cut.Tally[flow.BatchKey{Feed: n.Feed, Batch: n.Batch}]; c != nil && n.Kind != sink.Again {
				n.Declared, n.Chunks, n.SHA256 = c.Declared, c.Chunks, c.SHA256
			}
			chunk.Records = append(chunk.Records, *n)
		}
		r.note(p, at, rec, out.verdicts[at], was, whole)
	}
	if err := p.hold.Write(ctx, chunk); err != nil {
		if errors.Is(err, flow.ErrFenced) {
			return fmt.Errorf("another replay of %s has begun; this one stopped before %s/%d@%d, and what it wrote stands", p.hold.Topic, p.hold.Topic, p.partition, chunk.First)
		}
		return fmt.Errorf("cannot replay %s/%d@%d-%d: %w; nothing of this chunk counts yet, run the same command again", p.hold.Topic, p.partition, chunk.First, chunk.Last, err)
	}
	if r.scratch != nil {
		for _, part := range chunk.Parts {
			if err := r.scratch.Add(ctx, part); err != nil {
				return err
			}
		}
	}
	return nil
}

// settled says what changes by a record's verdict; nil when nothing does. was is
// the refusal that stands at its position, whole the one of its message.
func settled(at ingest.Position, rec ingest.Record, v verdict, was, whole sink.Refused) *sink.Replayed {
	n := &sink.Replayed{
		Offset: at.Offset, Row: at.Row,
		Feed: rec.Feed, Batch: rec.Batch, Outcome: v.outcome, Warnings: v.warnings, Reject: v.reject,
	}
	switch {
	case whole.Whole && at.Row > 0:
		n.Kind, n.First, n.Epoch, n.ArrivedAt = sink.Read, whole.First, whole.Epoch, whole.ArrivedAt
		return n
	case was.Rule == "":
		// It was counted when it came; what is missing or stands under an older
		// revision is written anew, and what would be refused today stays.
		n.Kind = sink.Again
		if !v.outcome.Stored() {
			return nil
		}
		return n
	case rec.Whole && !was.Whole:
		return nil // one record cannot take the blame for its message
	case v.reject != nil && sameFindings(v.reject, was):
		return nil
	}
	n.First, n.Epoch, n.ArrivedAt = was.First, was.Epoch, was.ArrivedAt
	n.Kind, n.WasFeed, n.WasRule, n.WasBatch = was.Kind, was.WasFeed, was.WasRule, was.WasBatch
	if was.Run == "" {
		// Under which batch it was counted is known from the message alone: the
		// quarantine leaves out what may hold a person's number.
		n.WasBatch = rec.Batch
		if was.Kept == "" {
			n.WasBatch = rec.Head
		}
	}
	return n
}

func sameFindings(r *flow.Reject, was sink.Refused) bool {
	if len(r.Findings) != len(was.Rules) {
		return false
	}
	for i, f := range r.Findings {
		if f.Rule.String() != was.Rules[i] || f.Field != was.Fields[i] {
			return false
		}
	}
	return true
}

// note counts what became of a record for the report.
func (r *replayer) note(p *replayPlace, at ingest.Position, rec ingest.Record, v verdict, was, whole sink.Refused) {
	c := change{Unit: p.hold.Unit, Feed: rec.Feed, Now: v.outcome.String()}
	if v.reject != nil {
		c.Now = "rejected by " + v.reject.Findings[0].Rule.String()
	}
	switch {
	case was.Rule != "":
		c.Was = "rejected by " + was.Rule
		if v.reject == nil {
			r.report.Moved++
		} else if rec.Whole && !was.Whole || sameFindings(v.reject, was) {
			c.Now = "stays rejected"
		}
	case whole.Whole:
		c.Was = "inside a message rejected by " + whole.Rule
	default:
		c.Was = "counted before"
		switch {
		case v.reject != nil:
			c.Now = "stays as it is; today it would be " + c.Now
		case !v.outcome.Stored():
			c.Now = "stays as it is"
		default:
			c.Now = "written anew as " + c.Now
		}
	}
	r.changes[c]++
}

// finish computes the national figures of a dry run and prints the report.
func (r *replayer) finish(ctx context.Context, w io.Writer) error {
	for c, n := range r.changes {
		r.report.Changes = append(r.report.Changes, replayChange{c.Unit, c.Feed, c.Was, c.Now, n})
	}
	sort.Slice(r.report.Changes, func(i, j int) bool {
		a, b := r.report.Changes[i], r.report.Changes[j]
		for _, p := range [][2]string{{a.Unit, b.Unit}, {a.Feed, b.Feed}, {a.Was, b.Was}, {a.Now, b.Now}} {
			if p[0] != p[1] {
				return p[0] < p[1]
			}
		}
		return false
	})
	if r.report.Changes == nil {
		r.report.Changes = []replayChange{}
	}
	if r.scratch != nil {
		if err := r.figures(ctx); err != nil {
			return err
		}
	}
	if r.config.json {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(r.report)
	}
	return r.report.print(w)
}

// figures asks every indicator twice: of the tables, and of the tables with the
// rows of the dry run laid over them.
func (r *replayer) figures(ctx context.Context) error {
	cat, err := metric.Load(indicators.FS, r.cat)
	if err != nil {
		return fmt.Errorf("cannot read the metric catalogue: %w", err)
	}
	day := r.judge.clock().In(feed.Shanghai)
	if r.config.asOf != "" {
		if day, err = time.Parse(time.DateOnly, r.config.asOf); err != nil {
			return fmt.Errorf("--as-of %q is no day: write 2016-11-30", r.config.asOf)
		}
	}
	day = time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, time.UTC)
	r.report.AsOf = day.Format(time.DateOnly)
	var units []string
	regions := map[string]string{}
	for _, u := range r.cat.Units {
		if u.ReportsOn(feed.Day(day)) {
			units, regions[u.Code] = append(units, u.Code), u.Region
		}
	}
	people, err := r.sink.People(ctx)
	if err != nil {
		return err
	}
	real := r.sink.Scratch()
	for _, in := range cat.Indicators {
		st, err := cat.Compile(metric.Query{Indicator: in, Dates: []time.Time{day}, Units: units, Now: r.judge.clock(), People: people})
		if err != nil {
			return err
		}
		ask := func(x *sink.Scratch) (*float64, error) {
			rows, err := x.Figures(ctx, st.SQL, st.Params)
			if err != nil {
				return nil, fmt.Errorf("cannot compute %s: %w", in.ID, err)
			}
			absent := func(v *float64) float64 {
				if v == nil {
					return math.NaN()
				}
				return *v
			}
			var all []metric.Share
			v := math.NaN()
			for _, f := range rows {
				if f.Unit == "" { // the statement itself gives the nation's
					v = in.Figure("", "", absent(f.N), absent(f.M)).Value
					break
				}
				all = append(all, metric.Share{Region: regions[f.Unit], N: absent(f.N), M: absent(f.M)})
			}
			if math.IsNaN(v) {
				v = cat.Nation(in, "", "", all).Value
			}
			if math.IsNaN(v) {
				return nil, nil
			}
			return &v, nil
		}
		c := figureChange{ID: in.ID, Zh: in.Zh, En: in.En}
		if c.Before, err = ask(real); err != nil {
			return err
		}
		if c.After, err = ask(r.scratch); err != nil {
			return err
		}
		r.report.Figures = append(r.report.Figures, c)
	}
	return nil
}

func (p *replayReport) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(p.Changes) > 0 {
		fmt.Fprintln(w, "unit\tfeed\twas\tbecomes\trecords")
		for _, c := range p.Changes {
			name := c.Feed
			if name == "" {
				name = "(unknown)"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\n", c.Unit, name, c.Was, c.Now, c.Records)
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if p.Gone > 0 {
		fmt.Fprintf(out, "%d refused records are no longer in Kafka; ask the unit to send them again\n", p.Gone)
	}
	if p.Outside > 0 {
		fmt.Fprintf(out, "%d offsets of the span lie in no cut of the ledger (not read yet, skipped, or a gap) and were left alone\n", p.Outside)
	}
	if len(p.Figures) > 0 {
		fmt.Fprintf(w, "national figure on %s\tbefore\tafter\tchange\t\n", p.AsOf)
		for _, f := range p.Figures {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s %s\n", f.ID, figureText(f.Before), figureText(f.After), differenceText(f.Before, f.After), f.Zh, f.En)
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	switch {
	case p.DryRun:
		_, err := fmt.Fprintf(out, "dry run: %d records looked at, %d would leave the quarantine; nothing was changed\n", p.Looked, p.Moved)
		return err
	case p.Looked == 0:
		_, err := fmt.Fprintln(out, "nothing to replay")
		return err
	}
	_, err := fmt.Fprintf(out, "%s: %d records looked at, %d left the quarantine\n", p.Run, p.Looked, p.Moved)
	return err
}

func figureText(v *float64) string {
	if v == nil {
		return "—"
	}
	return strconv.FormatFloat(math.Round(*v*1e4)/1e4, 'f', -1, 64)
}

func differenceText(before, after *float64) string {
	switch {
	case before == nil && after == nil:
		return "none"
	case before == nil || after == nil:
		return figureText(before) + " → " + figureText(after)
	}
	d := math.Round((*after-*before)*1e4) / 1e4
	if d == 0 {
		return "none"
	}
	return strings.TrimSuffix(fmt.Sprintf("%+g", d), "")
}

// runReplay reads a span of one partition again.
func runReplay(ctx context.Context, env *environment, args []string) error {
	var c replayConfig
	fs := env.flags("replay", "[flags] --topic T --partition P --from OFFSET --to OFFSET")
	c.flags(fs)
	topic := fs.String("topic", "", "topic of one unit")
	partition := fs.Int("partition", -1, "partition")
	from := fs.Int64("from", -1, "first offset")
	to := fs.Int64("to", -1, "last offset, included")
	if _, err := env.parse(fs, args, 0, 0); err != nil {
		return err
	}
	if *topic == "" || *partition < 0 || *from < 0 || *to < *from {
		return errors.New("give --topic, --partition, --from and --to: which offsets to read again, both ends included")
	}
	r, err := c.open(ctx, env)
	if err != nil {
		return err
	}
	defer r.close(ctx)
	hold, err := r.topic(ctx, *topic)
	if err != nil {
		return err
	}
	p, err := r.partition(ctx, hold, int32(*partition))
	if err != nil {
		return err
	}
	defer p.log.Close()
	if n := len(p.spans); n == 0 || p.spans[n-1].Last < *to {
		end := *from - 1
		if n > 0 {
			end = max(end, p.spans[n-1].Last)
		}
		r.report.Outside, *to = *to-end, end
	}
	for at := *from; at <= *to; {
		// A piece at a time, so that a long span does not fill the memory.
		end := min(*to, at+replayPiece-1)
		var offsets []int64
		for _, o := range span(at, end) {
			if _, ok := p.cut(o); ok {
				offsets = append(offsets, o)
			} else {
				r.report.Outside++
			}
		}
		refused, err := r.refused(ctx, sink.Choice{Topic: *topic, Partition: &p.partition, From: &at, To: &end}, hold.Incarnation, 0)
		if err != nil {
			return err
		}
		if err := r.offsets(ctx, p, offsets, refused, true); err != nil {
			return err
		}
		at = end + 1
	}
	return r.finish(ctx, env.stdout)
}

// replayPiece is how many positions are held in memory at once.
const replayPiece = 50000

// refused reads the refusals of one partition by position.
func (r *replayer) refused(ctx context.Context, c sink.Choice, incarnation int32, limit int) (map[ingest.Position]sink.Refused, error) {
	out := map[ingest.Position]sink.Refused{}
	err := r.sink.Refused(ctx, c, limit, func(x sink.Refused) error {
		if x.Incarnation == incarnation {
			out[ingest.Position{Offset: x.Offset, Row: x.Row}] = x
		}
		return nil
	})
	return out, err
}
