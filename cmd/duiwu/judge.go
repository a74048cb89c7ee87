package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/sink"
	"github.com/duiwu/duiwu/transform"
)

// judgeConfig is what the steps need beside the feed files: the worker's, and
// that of whoever judges records again as the worker would.
type judgeConfig struct {
	tokenKeys, tokenAlgorithm, hashKey string
	sealKeys                           string
	testAreas                          bool
	clockAt                            string
}

func (c *judgeConfig) flags(fs *flag.FlagSet) {
	fs.StringVar(&c.tokenKeys, "token-keys", "", "file with the chain of token keys, one of 64 hexadecimal digits a line, oldest first")
	fs.StringVar(&c.tokenAlgorithm, "token-algorithm", "sha256", "HMAC of the tokens: sha256 or sm3")
	fs.StringVar(&c.hashKey, "hash-key", "", "file with the key of the record hash, 32 hexadecimal digits; never changes")
	fs.StringVar(&c.sealKeys, "seal-keys", "", "file with the keys that open sealed fields; made by duiwu keys new seal")
	fs.BoolVar(&c.testAreas, "test-areas", false, "accept identity numbers of the reserved areas PP99xx; never in production")
	fs.StringVar(&c.clockAt, "clock", "", "pretend that the process starts at this moment (RFC 3339); for the demo")
}

// clock returns the process's clock, moved when --clock says so.
func (c *judgeConfig) clock() (func() time.Time, error) { return movedClock(c.clockAt) }

func movedClock(text string) (func() time.Time, error) {
	if text == "" {
		return time.Now, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return nil, fmt.Errorf("--clock %q is no moment: write 2016-11-30T20:00:00+08:00", text)
	}
	begun := time.Now()
	return func() time.Time { return at.Add(time.Since(begun)) }, nil
}

// judge runs the worker's own steps over records that are read again.
type judge struct {
	cat          *feed.Catalogue
	clock        func() time.Time
	check        *transform.Check
	pseudonymize *transform.Pseudonymize
	// keys names the chain of token keys.
	keys   string
	forget *transform.Forget
}

// forgets reads which records were erased, so that they are refused as the
// workers refuse them.
func (j *judge) forgets(ctx context.Context, s *sink.Sink) error {
	erased, err := s.ErasedNames(ctx, "")
	if err == nil {
		j.forget = transform.NewForget(erased, nil)
	}
	return err
}

// judge reads the keys; the caller releases what it returns.
func (c *judgeConfig) judge(cat *feed.Catalogue) (*judge, error) {
	if c.tokenKeys == "" || c.hashKey == "" {
		return nil, errors.New("give --token-keys and --hash-key, the ones of the workers: records are judged with the worker's own steps")
	}
	keys, err := readTokenKeys(c.tokenAlgorithm, c.tokenKeys)
	if err != nil {
		return nil, err
	}
	return c.judgeWith(cat, keys)
}

// judgeWith is judge with a chain of token keys that was read before.
func (c *judgeConfig) judgeWith(cat *feed.Catalogue, keys transform.TokenKeys) (*judge, error) {
	clock, err := c.clock()
	if err != nil {
		return nil, err
	}
	tokens, err := transform.NewTokenizer(keys)
	if err != nil {
		return nil, err
	}
	hash, err := readHashKey(c.hashKey)
	if err != nil {
		return nil, err
	}
	p, err := transform.NewPseudonymize(keys, cat, nil)
	if err != nil {
		return nil, err
	}
	return &judge{cat: cat, clock: clock, pseudonymize: p, keys: tokens.Name(), forget: transform.NewForget(nil, nil), check: transform.NewCheck(transform.CheckOptions{
		Catalogue: cat, HashKey: hash, AllowTestAreas: c.testAreas, Clock: clock,
	})}, nil
}

func (j *judge) release() { j.check.Release() }

// versions answers what is known of some records of a feed.
type versions func(ctx context.Context, spec *feed.Spec, keys []sink.Key) (map[sink.Key][]flow.Version, error)

// nothing is known of any record.
func nothing(context.Context, *feed.Spec, []sink.Key) (map[sink.Key][]flow.Version, error) {
	return nil, nil
}

// verdict is what became of one record.
type verdict struct {
	outcome  flow.Outcome
	warnings []string
	reject   *flow.Reject // when it is refused
}

// judged is a cut behind the steps, with the verdict of each of its records.
type judged struct {
	cut      flow.Cut
	verdicts map[ingest.Position]verdict
}

// judge takes over the rows of a reading and gives them back in the tables'
// schema; the caller releases the cut.
func (j *judge) judge(ctx context.Context, in *ingest.Reading, incarnation int32, known versions) (*judged, error) {
	cut := in.Cut
	cut.Span.Incarnation = incarnation
	defer func() { cut.Release() }()
	apply := func(s flow.Step) error {
		out, err := s.Apply(ctx, cut)
		if err != nil {
			return err
		}
		cut.Release()
		cut = out
		return nil
	}
	for _, s := range []flow.Step{j.check, j.forget, j.pseudonymize} {
		if err := apply(s); err != nil {
			return nil, fmt.Errorf("cannot judge %s again: %w", cut.Span, err)
		}
	}
	h := history{}
	var specs []*feed.Spec
	for _, p := range cut.Parts {
		keys := keysOf(p)
		known, err := known(ctx, p.Feed, keys)
		if err != nil {
			return nil, err
		}
		h[p.Feed] = known
		specs = append(specs, p.Feed)
	}
	dedupe := transform.NewDedupe(transform.DedupeOptions{Feeds: specs, History: h, Revision: revision})
	err := dedupe.Learn(ctx)
	if err == nil {
		err = apply(dedupe)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot judge %s again: %w", cut.Span, err)
	}
	out := &judged{cut: cut, verdicts: make(map[ingest.Position]verdict, len(in.Records))}
	out.read(in)
	cut = flow.Cut{}
	return out, nil
}

// read finds each record's verdict: it is among the rows, among the refused, or
// a duplicate.
func (d *judged) read(in *ingest.Reading) {
	for _, p := range d.cut.Parts {
		col := func(name string) int { return p.Rows.Schema().FieldIndices(name)[0] }
		offset, row := p.Rows.Column(col(feed.ColOffset)).(*array.Int64), p.Rows.Column(col(feed.ColRow)).(*array.Int32)
		part, outcome := p.Rows.Column(col(feed.ColPart)).(*array.Uint8), p.Rows.Column(col(feed.ColOutcome)).(*array.String)
		warnings := p.Rows.Column(col(feed.ColWarnings)).(*array.String)
		for i := range int(p.Rows.NumRows()) {
			if part.Value(i) != 0 {
				continue
			}
			v := verdict{outcome: outcomeNamed(outcome.Value(i))}
			if w := warnings.Value(i); w != "" {
				v.warnings = strings.Split(strings.Clone(w), ",")
			}
			d.verdicts[ingest.Position{Offset: offset.Value(i), Row: row.Value(i)}] = v
		}
	}
	for i := range d.cut.Rejects {
		r := &d.cut.Rejects[i]
		d.verdicts[ingest.Position{Offset: r.Offset, Row: r.Row}] = verdict{outcome: flow.Rejected, reject: r}
	}
	var by [flow.Outcomes]int64
	for p := range in.Records {
		if _, ok := d.verdicts[p]; !ok {
			d.verdicts[p] = verdict{outcome: flow.Duplicate}
		}
		by[d.verdicts[p].outcome]++
	}
	for key, c := range d.cut.Tally {
		if !c.Balanced() {
			panic(fmt.Sprintf("BUG: %s feed %q batch %q: received %d does not equal the sum of its outcomes %v", d.cut.Span, key.Feed, key.Batch, c.Received, c.By))
		}
		for o, n := range c.By {
			by[o] -= n
		}
	}
	if by != ([flow.Outcomes]int64{}) {
		panic(fmt.Sprintf("BUG: %s: the verdicts differ from the tally by %v", d.cut.Span, by))
	}
}

func outcomeNamed(name string) flow.Outcome {
	for o := range flow.Outcomes {
		if o.String() == name {
			return o
		}
	}
	panic("BUG: no outcome " + name)
}

// keysOf lists the records of a batch behind Pseudonymize, each once.
func keysOf(b flow.Batch) []sink.Key {
	id := b.Rows.Column(b.Rows.Schema().FieldIndices("record_id")[0]).(*array.String)
	from := b.Rows.Column(b.Rows.Schema().FieldIndices("effective_from")[0]).(*array.Date32)
	seen := make(map[sink.Key]bool, id.Len())
	for i := range id.Len() {
		k := sink.Key{RecordID: strings.Clone(id.Value(i))}
		if b.Feed.KeyHasDate() {
			k.EffectiveFrom = int32(from.Value(i))
		}
		seen[k] = true
	}
	out := slices.Collect(maps.Keys(seen))
	sort.Slice(out, func(i, j int) bool {
		if out[i].RecordID != out[j].RecordID {
			return out[i].RecordID < out[j].RecordID
		}
		return out[i].EffectiveFrom < out[j].EffectiveFrom
	})
	return out
}

// history is the transform.History of some records that were looked up before.
type history map[*feed.Spec]map[sink.Key][]flow.Version

// Newest implements transform.History.
func (h history) Newest(_ context.Context, spec *feed.Spec, fn func(recordID []byte, effectiveFrom int32, v flow.Version) error) error {
	for k, all := range h[spec] {
		newest := all[0]
		for _, v := range all[1:] {
			if v.Compare(newest) > 0 {
				newest = v
			}
		}
		if err := fn([]byte(k.RecordID), k.EffectiveFrom, newest); err != nil {
			return err
		}
	}
	return nil
}

// Stored implements transform.History.
func (h history) Stored(_ context.Context, spec *feed.Spec, rows []flow.Known) ([]bool, error) {
	out := make([]bool, len(rows))
	for i, r := range rows {
		out[i] = slices.Contains(h[spec][sink.Key{RecordID: string(r.RecordID), EffectiveFrom: r.EffectiveFrom}], r.Version)
	}
	return out, nil
}
