package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/seal"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/finding"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/sink"
)

// errBlind ends the process with status 2: doctor could not look.
var errBlind = errors.New("cannot look")

// doctor looks at a broker and a database and changes nothing.
type doctor struct {
	cat    *feed.Catalogue
	sink   *sink.Sink
	broker ingest.Broker
	judge  *judge // nil when no keys were given
	seals  *seal.Ring
	clock  func() time.Time
	prefix string
	units  []string
	full   bool
	cuts   int
	late   time.Duration
	keep   time.Duration

	checkup sink.Checkup
	dice    *rand.Rand
	found   []finding.Finding
	blind   []error
	read    struct{ cuts, records int64 }
	// twice is how many records of a unit two partitions counted.
	twice map[string]int64
}

// keepFor is how long the quarantine promises a replay.
const keepFor = 90 * 24 * time.Hour

// leastMessage is what Kafka takes by default, and what push and the gateway
// stay below.
const leastMessage = 1048588

// runDoctor looks for everything that can be wrong. Status 0: healthy, 1:
// findings, 2: it could not look.
func runDoctor(ctx context.Context, env *environment, args []string) error {
	d, asJSON, err := parseDoctor(ctx, env, args)
	if err != nil {
		if errors.Is(err, errUsage) {
			return err
		}
		return fmt.Errorf("%w: %w", errBlind, err)
	}
	defer d.close()
	d.look(ctx)
	if err := d.print(env.stdout, asJSON); err != nil {
		return err
	}
	switch {
	case len(d.found) > 0:
		return errFindings
	case len(d.blind) > 0:
		return fmt.Errorf("%w at everything; see above", errBlind)
	}
	return nil
}

func parseDoctor(ctx context.Context, env *environment, args []string) (d *doctor, asJSON bool, err error) {
	var db database
	var broker brokerConfig
	var keys judgeConfig
	d = &doctor{keep: keepFor}
	fs := env.flags("doctor", "[flags]")
	db.flags(fs)
	broker.flags(fs)
	keys.flags(fs)
	fs.StringVar(&d.prefix, "prefix", ingest.DefaultPrefix, "topics are <prefix>.<unit>")
	units := fs.String("units", "", "reporting units to look at, 310000,320000; empty means all that report")
	fs.BoolVar(&d.full, "full", false, "look at every key and every cut that Kafka holds; without it, samples")
	fs.IntVar(&d.cuts, "cuts", 2, "cuts of each partition that are read again from Kafka: the newest, and others at random")
	fs.DurationVar(&d.late, "late", 15*time.Minute, "how long messages may wait")
	fs.IntVar(&d.checkup.Sample, "sample", 100000, "keys of each feed that are compared with its current table")
	fs.IntVar(&d.checkup.MaxParts, "max-parts", 300, "parts that a table may have")
	fs.Float64Var(&d.checkup.MinFree, "min-free", 0.1, "share of each disk that has to be free")
	fs.BoolVar(&asJSON, "json", false, "print one JSON object")
	if _, err := env.parse(fs, args, 0, 0); err != nil {
		return nil, false, err
	}
	if broker.brokers == "" {
		return nil, false, errors.New("no broker: give --kafka or DUIWU_KAFKA")
	}
	if d.clock, err = keys.clock(); err != nil {
		return nil, false, err
	}
	if d.seals, err = readSealKeys(keys.sealKeys); err != nil {
		return nil, false, err
	}
	// What crosses the network in clear is a finding, see look.
	if d.broker, err = broker.open(func(string, ...any) {}); err != nil {
		return nil, false, err
	}
	if d.cat, err = catalogue(db.feeds); err != nil {
		return nil, false, err
	}
	d.units = reporting(d.cat)
	if *units != "" {
		d.units = strings.Split(*units, ",")
	}
	if keys.hashKey != "" || keys.tokenKeys != "" {
		if d.judge, err = keys.judge(d.cat); err != nil {
			return nil, false, err
		}
	}
	seed := uint64(time.Now().UnixNano())
	d.dice, d.checkup.Seed, d.checkup.Full = rand.New(rand.NewPCG(seed, 0)), seed, d.full
	if err = d.broker.Probe(ctx); err != nil {
		err = fmt.Errorf("Kafka: %w", err)
	} else {
		d.sink, err = db.open(ctx, env, hostname())
	}
	if err != nil {
		if d.judge != nil {
			d.judge.release()
		}
		return nil, false, err
	}
	if d.judge != nil {
		if err := d.judge.forgets(ctx, d.sink); err != nil {
			d.blind = append(d.blind, err)
		}
	}
	return d, asJSON, nil
}

func (d *doctor) close() {
	if d.judge != nil {
		d.judge.release()
	}
	d.sink.Close()
}

func (d *doctor) add(id, where, format string, args ...any) {
	d.found = append(d.found, finding.Of(id, where, format, args...))
}

func (d *doctor) fail(what string, err error) {
	d.blind = append(d.blind, fmt.Errorf("cannot look at %s: %w", what, err))
}

// look fills found and blind.
func (d *doctor) look(ctx context.Context) {
	d.found, d.blind = d.sink.Checkup(ctx, d.checkup)
	if d.broker.Plain() {
		d.add("not_encrypted", strings.Join(d.broker.Brokers, ","), "the brokers are not on this machine, and --kafka-tls=false was given")
	}
	topics := make([]string, len(d.units))
	for i, u := range d.units {
		topics[i] = ingest.Topic(d.prefix, u)
	}
	state, err := ingest.Inspect(ctx, d.broker, topics...)
	if err != nil {
		d.fail("the topics", err)
		return
	}
	heard, err := d.sink.UnitsHeard(ctx)
	if err != nil {
		d.fail("the units", err)
	}
	if d.twice, err = d.sink.CountedTwice(ctx); err != nil {
		d.fail("the balance", err)
	}
	for i, topic := range topics {
		t, ok := state[topic]
		if !ok {
			d.add("topic_missing", topic, "unit %s cannot send", d.units[i])
			continue
		}
		d.settings(topic, &t)
		if heard != nil && !heard[d.units[i]] && d.units[i] != nationalOffice {
			d.add("unit_silent", topic, "nothing was ever received from unit %s", d.units[i])
		}
		if err := d.topic(ctx, topic, &t); err != nil {
			d.fail("topic "+topic, err)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// nationalOffice may send some feeds and need not.
const nationalOffice = "000000"

// settings compares a topic's settings with what the promises need.
func (d *doctor) settings(topic string, t *ingest.TopicState) {
	if ms, ok := t.Number("retention.ms"); ok && ms >= 0 && time.Duration(ms)*time.Millisecond < d.keep {
		d.add("topic_retention", topic, "retention.ms is %d, %.1f days", ms, float64(ms)/86400000)
	}
	if n, ok := t.Number("retention.bytes"); ok && n >= 0 {
		d.add("topic_retention", topic, "retention.bytes is %d", n)
	}
	if policy := t.Text("cleanup.policy"); strings.Contains(policy, "compact") {
		d.add("topic_compacted", topic, "cleanup.policy is %s", policy)
	}
	if n, ok := t.Number("max.message.bytes"); ok && n < leastMessage {
		d.add("topic_max_message", topic, "max.message.bytes is %d", n)
	}
	least, ok := t.Number("min.insync.replicas")
	switch {
	case t.Replicas < min(3, t.Brokers):
		d.add("topic_in_sync", topic, "%d replicas with %d brokers", t.Replicas, t.Brokers)
	case ok && t.Replicas > 1 && least < 2:
		d.add("topic_in_sync", topic, "min.insync.replicas is %d with %d replicas: one broker alone may acknowledge", least, t.Replicas)
	case ok && t.Replicas > 1 && int(least) >= t.Replicas:
		d.add("topic_in_sync", topic, "min.insync.replicas is %d with %d replicas: the topic stops with one broker", least, t.Replicas)
	}
}

// topic compares the log of a topic with the ledger.
func (d *doctor) topic(ctx context.Context, topic string, t *ingest.TopicState) error {
	keys, err := d.sink.SomeKeys(ctx, topic, 2000)
	if err != nil {
		return err
	}
	astray := 0
	unit := strings.TrimPrefix(topic, d.prefix+".")
	for id, at := range keys {
		if ingest.PartitionOf(ingest.Key(unit, id), t.Partitions) != int(at) {
			astray++
		}
	}
	if astray > 0 {
		d.add("topic_partitions", topic, "%d of %d keys looked at lie in another of the %d partitions", astray, len(keys), t.Partitions)
	}
	known, err := d.sink.Partitions(ctx, topic)
	if err != nil {
		return err
	}
	for _, p := range known {
		if int(p) >= t.Partitions {
			d.add("topic_anew", topic, "the ledger knows partition %d; the topic has %d", p, t.Partitions)
		}
	}
	written, err := d.sink.LastWritten(ctx, topic)
	if err != nil {
		return err
	}
	hold, err := d.sink.Rehearse(ctx, topic)
	if err != nil {
		return err
	}
	for p := range int32(t.Partitions) {
		if err := d.partition(ctx, hold, p, written); err != nil {
			return fmt.Errorf("partition %d: %w", p, err)
		}
	}
	return nil
}

func (d *doctor) partition(ctx context.Context, hold *sink.Replay, partition int32, written time.Time) error {
	spans, err := d.sink.Spans(ctx, hold.Topic, partition)
	if err != nil {
		return err
	}
	log, err := ingest.OpenReread(ctx, &d.broker, hold.Topic, hold.Unit, partition, ingest.Options{Catalogue: d.cat, Clock: d.clock, Seals: d.seals})
	if err != nil {
		return err
	}
	defer log.Close()
	where := fmt.Sprintf("%s/%d", hold.Topic, partition)
	next := log.Start
	if n := len(spans); n > 0 {
		next = spans[n-1].Last + 1
		var anew *anewError
		switch err := sameLog(ctx, log, spans); {
		case errors.As(err, &anew):
			d.add("topic_anew", where, "%s", anew.why)
			return nil
		case err != nil:
			return err
		}
	}
	if next < log.Start {
		d.add("messages_expired", where, "the ledger ends at offset %d, the log begins at %d: %d offsets are gone", next-1, log.Start, log.Start-next)
		next = log.Start
	}
	if next < log.End && time.Since(written) > d.late {
		// What is left may be markers of transactions, which nobody has to read.
		for o := next; o < min(log.End, next+20); o++ {
			if _, ok, err := log.Sum(ctx, o); err != nil {
				return err
			} else if ok {
				d.add("not_read", where, "%d offsets from %d on wait, and nothing of the topic was written for %s", log.End-next, next, since(written))
				break
			}
		}
	}
	return d.recompute(ctx, hold, log, spans)
}

func since(at time.Time) string {
	if at.Unix() <= 0 {
		return "ever"
	}
	return time.Since(at).Round(time.Minute).String()
}

// recompute reads cuts of one partition again and counts them anew.
func (d *doctor) recompute(ctx context.Context, hold *sink.Replay, log *ingest.Reread, spans []sink.LedgerSpan) error {
	held := slices.DeleteFunc(slices.Clone(spans), func(l sink.LedgerSpan) bool { return l.Skipped || l.First < log.Start })
	if n := len(held); !d.full && n > d.cuts {
		some := held[n-1:]
		for _, i := range d.dice.Perm(n - 1)[:max(0, d.cuts-1)] {
			some = append(some[:len(some):len(some)], held[i])
		}
		held = some
	}
	confirm := d.judge != nil
	if n := len(held); confirm && n > 0 {
		last := held[n-1]
		if !d.full {
			last = held[0]
		}
		trouble, _, err := compareKeys(ctx, d.sink, d.judge, log, hold.Incarnation, span(max(last.First, last.Last-sampled+1), last.Last), map[string]bool{})
		if err != nil {
			return err
		}
		if trouble != nil {
			id := "token_keys_differ"
			if trouble.What == sink.HashKey {
				id = "hash_key_differs"
				confirm = false // no version that is made here can be found
			}
			d.add(id, last.Span.String(), "feed %s", trouble.Feed)
		}
	}
	for _, l := range held {
		if err := d.recount(ctx, log, l, confirm); err != nil {
			return err
		}
	}
	return nil
}

// recount counts one cut anew: what Kafka holds, what is stored and refused at
// its positions, and the rest, which must be duplicates: with the keys each is
// looked up under its key and version.
func (d *doctor) recount(ctx context.Context, log *ingest.Reread, l sink.LedgerSpan, confirm bool) error {
	offsets := span(l.First, l.Last)
	records := map[int64]int64{} // by offset
	feeds := map[string]bool{}
	var absent [][2]int64
	for len(offsets) > 0 {
		in, err := log.Read(ctx, offsets, nil)
		if err != nil {
			return err
		}
		offsets = offsets[in.Done:]
		for at, r := range in.Records {
			records[at.Offset]++
			feeds[r.Feed] = true
		}
		if !confirm {
			in.Cut.Release()
			continue
		}
		more, err := d.absent(ctx, in, l.Incarnation)
		if err != nil {
			return err
		}
		absent = append(absent, more...)
	}
	var specs []*feed.Spec
	for _, name := range slices.Sorted(maps.Keys(feeds)) {
		if spec := d.cat.Feed(name); spec != nil {
			specs = append(specs, spec)
		}
	}
	state, err := d.sink.Cut(ctx, l, specs)
	if err != nil {
		return err
	}
	var received int64
	for offset, n := range records {
		if state.Whole[offset] {
			n = 1
		}
		received += n
	}
	d.read.cuts++
	d.read.records += received
	where := l.Span.String()
	if received != l.Received {
		d.add("received_differs", where, "Kafka holds %d records, the ledger received %d", received, l.Received)
		return nil
	}
	var lost [][2]int64
	for _, at := range absent {
		if !state.RefusedAt[at] && !state.Whole[at[0]] {
			lost = append(lost, at)
		}
	}
	if len(lost) > 0 {
		d.add("record_lost", where, "%d records, the first at offset %d row %d", len(lost), lost[0][0], lost[0][1])
		return nil
	}
	var stored int64
	for o, n := range l.By {
		if flow.Outcome(o).Stored() {
			stored += n
		}
	}
	if twice := d.twice[strings.TrimPrefix(l.Topic, d.prefix+".")]; confirm && state.Refused == l.By[flow.Rejected] && state.Stored < stored && stored-state.Stored <= twice {
		return nil // another partition holds the row, and the balance counts it once
	}
	if state.Stored != stored || state.Refused != l.By[flow.Rejected] {
		confirmed := "duplicates were not looked up; give --token-keys and --hash-key to tell a wrong name from a lost record"
		if confirm {
			confirmed = "every record is stored somewhere"
		}
		d.add("counts_differ", where, "stored %d, duplicate %d, refused %d; the ledger says %d, %d, %d; %s", state.Stored, received-state.Stored-state.Refused, state.Refused,
			stored, l.By[flow.Duplicate], l.By[flow.Rejected], confirmed)
	}
	return nil
}

// absent judges a reading as if nothing were known and lists the positions whose
// record no history holds. It takes over the reading's rows.
func (d *doctor) absent(ctx context.Context, in *ingest.Reading, incarnation int32) ([][2]int64, error) {
	out, err := d.judge.judge(ctx, in, incarnation, nothing)
	if err != nil {
		return nil, err
	}
	defer out.cut.Release()
	var all [][2]int64
	for _, part := range out.cut.Parts {
		at, err := d.sink.Absent(ctx, part)
		if err != nil {
			return nil, err
		}
		all = append(all, at...)
	}
	return all, nil
}

// most is how many places of one finding are printed.
const most = 20

func (d *doctor) print(w io.Writer, asJSON bool) error {
	count := map[finding.Severity]int{}
	for _, f := range d.found {
		count[f.Kind.Severity]++
	}
	if asJSON {
		type row struct {
			ID       string           `json:"id"`
			Severity finding.Severity `json:"severity"`
			Where    string           `json:"where"`
			What     string           `json:"what"`
			Means    string           `json:"means"`
			Do       string           `json:"do"`
		}
		out := struct {
			Healthy  bool     `json:"healthy"`
			Findings []row    `json:"findings"`
			Blind    []string `json:"could_not_look"`
			Cuts     int64    `json:"cuts_read_again"`
			Records  int64    `json:"records_read_again"`
		}{len(d.found)+len(d.blind) == 0, []row{}, []string{}, d.read.cuts, d.read.records}
		for _, f := range d.found {
			out.Findings = append(out.Findings, row{f.Kind.ID, f.Kind.Severity, f.Where, f.What, f.Kind.Means, f.Kind.Do})
		}
		for _, err := range d.blind {
			out.Blind = append(out.Blind, err.Error())
		}
		return printJSON(w, out)
	}
	var b strings.Builder
	for _, k := range finding.Kinds() {
		var all []finding.Finding
		for _, f := range d.found {
			if f.Kind.ID == k.ID {
				all = append(all, f)
			}
		}
		if len(all) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s  %s\n", strings.ToUpper(string(k.Severity)), k.ID)
		for _, f := range all[:min(len(all), most)] {
			fmt.Fprintf(&b, "    %s: %s\n", f.Where, f.What)
		}
		if n := len(all) - most; n > 0 {
			fmt.Fprintf(&b, "    and %d more; --json lists them all\n", n)
		}
		fmt.Fprintf(&b, "  means  %s\n  do     %s\n\n", k.Means, k.Do)
	}
	for _, err := range d.blind {
		fmt.Fprintf(&b, "NOT LOOKED AT  %v\n\n", err)
	}
	switch {
	case len(d.found) > 0:
		fmt.Fprintf(&b, "%d errors, %d warnings", count[finding.Error], count[finding.Warning])
	case len(d.blind) > 0:
		b.WriteString("no findings in what could be looked at")
	default:
		b.WriteString("healthy")
	}
	fmt.Fprintf(&b, "; looked at %d units and %d feeds, read %d cuts of %d records again from Kafka", len(d.units), len(d.cat.Feeds), d.read.cuts, d.read.records)
	if d.judge == nil {
		b.WriteString("; without --token-keys and --hash-key no duplicate was looked up")
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}
