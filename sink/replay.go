package sink

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// A replay reads positions again that the ledger accounts for. What it makes of
// them lies in four places, written in this order, the last one making the
// others count:
//
//	<feed>_history   the rows, under their old position; idempotent by key and version
//	replayed         one row a position: from which refusal to which outcome
//	claims           looked at once more: only one replay a topic may go on
//	ledger           one row of kind replay: the change to the balance, who, why
//
// The live ledger is never touched. A replay that was killed before its ledger
// row leaves rows in the history under positions that are still refused; the
// next one does not see them as known, names every outcome as the first did,
// and writes them again.

const kindReplay = "replay"

// The kinds of a replayed record.
const (
	// Moved: a refusal became an outcome, or another refusal.
	Moved = "moved"
	// Read: a record of a message that had been refused whole. Row 0 takes the
	// place of the message's refusal and is Moved; the others are Read, and count
	// as received from now on, since the message had counted as one.
	Read = "read"
	// Again: a record that had been counted; its row was written anew.
	Again = "again"
)

func replayedTable() table {
	return table{
		name: "replayed",
		columns: columns(position, []column{
			{"offset", "Int64", ""}, {"row", "Int32", ""}, {"run", code, ""},
			// Of the replay: its claim's epoch, and the first offset of its ledger row.
			{"claim", "UInt32", ""}, {"chunk", "Int64", ""}, {"kind", code, ""},
			// Of the live cut that holds the position.
			{"first_offset", "Int64", ""}, {"epoch", "UInt32", ""}, {"unit", code, ""}, {"arrived_at", moment, ""},
			// What the balance counted it as. Batches stand as sent.
			{"was_feed", code, ""}, {"was_batch", "String", ""}, {"was_rule", code, ""},
			{"feed", code, ""}, {"batch", "String", ""}, {"outcome", code, ""}, {"warnings", "Array(" + code + ")", ""},
			{"declared", "Int64", ""}, {"chunks", "Array(Int32)", ""}, {"chunk_rows", "Array(Int64)", ""}, {"chunk_offsets", "Array(Int64)", ""}, {"sha256", "String", ""},
			// As in the quarantine, when it is refused again.
			{"batch_id", "String", ""}, {"record_id", "String", ""}, {"rule", code, ""}, {"fields", "Array(" + code + ")", ""},
			{"rules", "Array(" + code + ")", ""}, {"kept", "String", "CODEC(ZSTD(1))"},
			{"replayed_at", moment, ""},
		}),
		engine:  "ReplacingMergeTree(claim)",
		unit:    ofTopic,
		order:   []string{"topic", "incarnation", "partition", "offset", "row", "run"},
		comment: "What a replay made of a record, by position; it counts when the replay's own row is in the ledger",
	}
}

// replayedEffective is the newest finished word about each position, as long as
// the live cut that it corrects is in the ledger, or in a part of it.
func replayedEffective(ledger string) string {
	return `SELECT *
FROM replayed FINAL
WHERE kind != '` + Again + `'
AND (topic, incarnation, partition, run, chunk, claim) IN (SELECT topic, incarnation, partition, run, first_offset, epoch FROM ledger FINAL WHERE kind = '` + kindReplay + `')
AND (topic, incarnation, partition, first_offset, epoch) IN (SELECT topic, incarnation, partition, first_offset, epoch FROM ` + ledger + `)
ORDER BY claim DESC
LIMIT 1 BY topic, incarnation, partition, offset, row`
}

// quarantineOpen is the refusals that stand: those of effective cuts that no
// replay has turned into something else, with the newest reason. whole says that
// the refusal stands for a message that could not be read as records.
const quarantineOpen = `SELECT topic, incarnation, partition, offset, row, epoch, cut_first AS first_offset, unit, feed, batch_id, record_id,
    rule, fields, rules, kept, arrived_at, '' AS run, row = 0 AND kept = '' AND record_id = '' AND fields = [''] AS whole,
    '` + Moved + `' AS kind, toString(feed) AS was_feed, '' AS was_batch, toString(rule) AS was_rule
FROM (SELECT q.*, l.cut_first, l.cut_last FROM (SELECT * FROM quarantine FINAL) AS q
    ASOF JOIN (SELECT topic, incarnation, partition, epoch, first_offset AS cut_first, last_offset AS cut_last FROM ledger_effective WHERE kind = '` + kindCut + `') AS l
    ON q.topic = l.topic AND q.incarnation = l.incarnation AND q.partition = l.partition AND q.epoch = l.epoch AND q.offset >= l.cut_first)
WHERE offset <= cut_last
AND (topic, incarnation, partition, offset, row) NOT IN (SELECT topic, incarnation, partition, offset, row FROM replayed_effective)
UNION ALL
SELECT topic, incarnation, partition, offset, row, epoch, first_offset, unit, feed, batch_id, record_id,
    rule, fields, rules, kept, arrived_at, toString(run) AS run, row = 0 AND kept = '' AND record_id = '' AND fields = [''] AS whole,
    toString(kind) AS kind, toString(was_feed) AS was_feed, was_batch, toString(was_rule) AS was_rule
FROM replayed_effective
WHERE outcome = 'rejected'`

// replayedParts writes what replays changed as receipt parts: the refusal is
// taken back, and the record counted as what it became.
func replayedParts(ledger string) string {
	var before, after []string
	for _, name := range outcomeNames() {
		n := "toInt64(0)"
		if name == flow.Rejected.String() {
			n = "toInt64(-1)"
		}
		before = append(before, n+" AS "+name)
		after = append(after, "toInt64(outcome = '"+name+"') AS "+name)
	}
	const rules = "Map(" + code + ", Int64)"
	part := func(feed, batch, received string, counts []string, broken, warned, rest, where string) string {
		return "SELECT unit, " + feed + " AS feed, " + batch + " AS batch_id, topic, incarnation, partition, first_offset, epoch, " +
			received + " AS received, " + strings.Join(counts, ", ") +
			", CAST(" + broken + ", '" + rules + "') AS rules, CAST(" + warned + ", '" + rules + "') AS warnings, " + rest +
			", replayed_at AS written_at\nFROM (" + replayedEffective(ledger) + ")" + where
	}
	return part("was_feed", "was_batch", "toInt64(-1)", before, "map(was_rule, -1)", "map()",
		"toInt64(0) AS declared, CAST([], 'Array(Int32)') AS chunks, '' AS sha256, arrived_at, CAST([], 'Array(Int64)') AS chunk_rows, CAST([], 'Array(Int64)') AS chunk_offsets, toInt64(0) AS astray, toInt32(0) AS partitions", "\nWHERE kind = '"+Moved+"'") +
		"\nUNION ALL\n" +
		part("feed", "batch", "toInt64(1)", after, "if(rule = '', map(), map(rule, 1))",
			"mapFromArrays(arrayDistinct(warnings), arrayMap(w -> toInt64(countEqual(warnings, w)), arrayDistinct(warnings)))",
			"declared, chunks, sha256, arrived_at, chunk_rows, chunk_offsets, toInt64(0) AS astray, toInt32(0) AS partitions", "")
}

// Refused is a record, or a whole message, whose refusal stands.
type Refused struct {
	Topic       string
	Incarnation int32
	Partition   int32
	Offset      int64
	Row         int32
	// Epoch and First name the live cut that refused it.
	Epoch uint32
	First int64

	Unit, Feed, Batch, RecordID string
	// Rule is the reason by which it is counted; Fields and Rules are all of them.
	Rule          string
	Fields, Rules []string
	Kept          string
	ArrivedAt     time.Time
	// Run is the replay that refused it last; empty when none did.
	Run string
	// Whole: the message could not be read as records and counts as one.
	Whole bool
	// What the balance counts: Kind is Moved, or Read for a record that counts
	// only since a replay. WasBatch is known only when Run is set.
	Kind, WasFeed, WasBatch, WasRule string
}

// Choice selects refusals; what is empty selects everything.
type Choice struct {
	Unit, Feed, Rule, Batch, Topic string
	// Partition and the offsets From to To restrict a topic; -1 and nil do not.
	Partition    *int32
	From, To     *int64
	Since, Until time.Time
}

func (c *Choice) where() (string, params) {
	cond, p := []string{"true"}, params{}
	add := func(use bool, name, typ, expr, v string) {
		if use {
			cond = append(cond, strings.Replace(expr, "?", "{"+name+":"+typ+"}", 1))
			p[name] = v
		}
	}
	add(c.Unit != "", "unit", "String", "unit = ?", text(c.Unit))
	add(c.Feed != "", "feed", "String", "feed = ?", text(c.Feed))
	add(c.Rule != "", "rule", "String", "has(rules, ?)", text(c.Rule))
	add(c.Batch != "", "batch", "String", "batch_id = ?", text(c.Batch))
	add(c.Topic != "", "topic", "String", "topic = ?", text(c.Topic))
	if c.Partition != nil {
		add(true, "partition", "Int32", "partition = ?", strconv.Itoa(int(*c.Partition)))
	}
	if c.From != nil {
		add(true, "from", "Int64", "offset >= ?", strconv.FormatInt(*c.From, 10))
	}
	if c.To != nil {
		add(true, "to", "Int64", "offset <= ?", strconv.FormatInt(*c.To, 10))
	}
	const at = "DateTime64(3, 'UTC')"
	add(!c.Since.IsZero(), "since", at, "arrived_at >= ?", c.Since.UTC().Format("2006-01-02 15:04:05.000"))
	add(!c.Until.IsZero(), "until", at, "arrived_at < ?", c.Until.UTC().Format("2006-01-02 15:04:05.000"))
	return strings.Join(cond, " AND "), p
}

// Refused calls each with the refusals that stand, by position; at most limit
// of them when it is not 0.
func (s *Sink) Refused(ctx context.Context, c Choice, limit int, each func(Refused) error) error {
	where, p := c.where()
	sql := `SELECT topic, incarnation, partition, offset, row, epoch, first_offset, unit, feed, batch_id, record_id, rule, fields, rules, kept, arrived_at, run, whole, kind, was_feed, was_batch, was_rule
FROM quarantine_open WHERE ` + where + " ORDER BY topic, incarnation, partition, offset, row"
	if limit > 0 {
		sql += " LIMIT " + strconv.Itoa(limit)
	}
	err := s.rows(ctx, sql, p, func(scan func(...any) error) error {
		var r Refused
		var whole uint8
		err := scan(&r.Topic, &r.Incarnation, &r.Partition, &r.Offset, &r.Row, &r.Epoch, &r.First, &r.Unit, &r.Feed, &r.Batch, &r.RecordID,
			&r.Rule, &r.Fields, &r.Rules, &r.Kept, &r.ArrivedAt, &r.Run, &whole, &r.Kind, &r.WasFeed, &r.WasBatch, &r.WasRule)
		r.Whole = whole != 0
		if err != nil {
			return err
		}
		return each(r)
	})
	if err != nil {
		return fmt.Errorf("cannot read the quarantine: %w", err)
	}
	return nil
}

// RefusedPlace is a partition that holds refusals.
type RefusedPlace struct {
	Topic                  string
	Incarnation, Partition int32
	Records                uint64
	// Now is the topic's present incarnation: messages of an earlier one are gone.
	Now int32
}

// RefusedPlaces lists the partitions in which refusals stand.
func (s *Sink) RefusedPlaces(ctx context.Context, c Choice) ([]RefusedPlace, error) {
	where, p := c.where()
	var out []RefusedPlace
	err := s.rows(ctx, `SELECT q.topic, q.incarnation, q.partition, q.n, i.now FROM
(SELECT topic, incarnation, partition, count() AS n FROM quarantine_open WHERE `+where+` GROUP BY topic, incarnation, partition) AS q
LEFT JOIN (SELECT topic, max(incarnation) AS now FROM incarnations GROUP BY topic) AS i ON q.topic = i.topic
ORDER BY q.topic, q.incarnation, q.partition`, p, func(scan func(...any) error) error {
		var r RefusedPlace
		err := scan(&r.Topic, &r.Incarnation, &r.Partition, &r.Records, &r.Now)
		out = append(out, r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the quarantine: %w", err)
	}
	return out, nil
}

// RefusedCount is how many refusals of a unit and feed stand by one rule.
type RefusedCount struct {
	Unit, Feed, Rule string
	Records, Batches uint64
	First, Last      time.Time
}

// CountRefused counts the refusals that stand by unit, feed and first rule.
func (s *Sink) CountRefused(ctx context.Context, c Choice) ([]RefusedCount, error) {
	where, p := c.where()
	var out []RefusedCount
	err := s.rows(ctx, "SELECT unit, feed, rule, count(), uniqExact(batch_id), min(arrived_at), max(arrived_at) FROM quarantine_open WHERE "+where+
		" GROUP BY unit, feed, rule ORDER BY unit, feed, count() DESC, rule", p, func(scan func(...any) error) error {
		var r RefusedCount
		err := scan(&r.Unit, &r.Feed, &r.Rule, &r.Records, &r.Batches, &r.First, &r.Last)
		out = append(out, r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot count the quarantine: %w", err)
	}
	return out, nil
}

// spot are the parameters that name a partition.
func spot(topic string, incarnation, partition int32) params {
	return params{"topics": texts([]string{topic}), "incarnation": strconv.Itoa(int(incarnation)), "partition": strconv.Itoa(int(partition))}
}

// LedgerSpan is one effective row of the live ledger.
type LedgerSpan struct {
	flow.Span
	Epoch     uint32
	Skipped   bool
	LastSum   uint64
	ArrivedAt time.Time
	Received  int64
	By        [flow.Outcomes]int64
}

// Spans lists the effective rows of a partition's live ledger, of the topic's
// present incarnation, by first offset.
func (s *Sink) Spans(ctx context.Context, topic string, partition int32) ([]LedgerSpan, error) {
	n, err := s.incarnation(ctx, topic)
	var out []LedgerSpan
	if err == nil {
		err = s.rows(ctx, `SELECT first_offset, last_offset, epoch, kind = '`+kindSkip+`', last_sum, arrived_at, `+counts+` FROM (`+effective(liveTopics)+`)
WHERE incarnation = {incarnation:Int32} AND partition = {partition:Int32} ORDER BY first_offset, epoch`,
			spot(topic, n, partition), func(scan func(...any) error) error {
				l := LedgerSpan{Span: flow.Span{Topic: topic, Incarnation: n, Partition: partition}}
				err := scan(append([]any{&l.First, &l.Last, &l.Epoch, &l.Skipped, &l.LastSum, &l.ArrivedAt, &l.Received}, by(&l.By)...)...)
				out = append(out, l)
				return err
			})
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the ledger of %s/%d: %w", topic, partition, err)
	}
	return out, nil
}

// Partitions lists the partitions of a topic's present incarnation that the
// ledger knows.
func (s *Sink) Partitions(ctx context.Context, topic string) ([]int32, error) {
	var out []int32
	err := s.rows(ctx, `SELECT DISTINCT partition FROM ledger WHERE run = 'live' AND topic = {topic:String} AND incarnation = (SELECT max(incarnation) FROM incarnations WHERE topic = {topic:String}) ORDER BY partition`,
		params{"topic": text(topic)}, func(scan func(...any) error) error {
			var p int32
			err := scan(&p)
			out = append(out, p)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("cannot read the ledger of %s: %w", topic, err)
	}
	return out, nil
}

// Replay is one replay's hold on one topic. It never meets the claims of the
// workers: it has its own, so that one replay of a topic runs at a time.
type Replay struct {
	Topic       string
	Incarnation int32
	Unit        string
	Run         string

	s          *Sink
	by, reason string
	claim      *Assignment // nil when nothing will be written
	// ledger says which positions count as known; its partition does not exist.
	ledger Assignment
	// done are versions that a rehearsal would have written, by feed.
	done map[string]map[string][]flow.Version
}

// Replay begins a replay of a topic under an operator's name and reason, which
// the ledger keeps. Another replay of the topic that is running stops at its
// next write.
func (s *Sink) Replay(ctx context.Context, topic, run, name, reason string) (*Replay, error) {
	if name == "" || reason == "" {
		return nil, fmt.Errorf("cannot replay %s: an operator's name and a reason are needed", topic)
	}
	r, err := s.Rehearse(ctx, topic)
	if err != nil {
		return nil, err
	}
	// No Kafka topic has such a name, so no worker ever meets this claim.
	r.claim = &Assignment{Topic: topic + "#replay", s: s}
	if err := s.claim(ctx, []*Assignment{r.claim}); err != nil {
		return nil, fmt.Errorf("cannot claim the replay of %s: %w", topic, err)
	}
	r.Run, r.by, r.reason, r.done = run, name, reason, nil
	return r, nil
}

// Rehearse is a Replay that cannot write: Write only remembers.
func (s *Sink) Rehearse(ctx context.Context, topic string) (*Replay, error) {
	n, err := s.incarnation(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("cannot read the incarnation of %s: %w", topic, err)
	}
	return &Replay{
		Topic: topic, Incarnation: n, Unit: unitOf(topic), s: s, done: make(map[string]map[string][]flow.Version),
		ledger: Assignment{Topic: topic, Incarnation: n, Partition: -1, Unit: unitOf(topic), s: s},
	}, nil
}

// Key names a record inside its unit and feed.
type Key struct {
	RecordID      string
	EffectiveFrom int32 // 0 unless spec.KeyHasDate
}

// Versions gives the known versions of some records: those at positions inside
// the ledger, but for positions whose refusal stands, since a row there is the
// trace of a replay that was never finished.
func (r *Replay) Versions(ctx context.Context, spec *feed.Spec, keys []Key) (map[Key][]flow.Version, error) {
	out := make(map[Key][]flow.Version, len(keys))
	for _, k := range keys {
		if more := r.done[spec.Feed][string(keyBinary(nil, k))]; len(more) > 0 {
			out[k] = append([]flow.Version(nil), more...)
		}
	}
	if err := r.versions(ctx, spec, keys, out); err != nil {
		return nil, fmt.Errorf("cannot look up %d records of %s of %s: %w", len(keys), spec.Feed, r.Topic, err)
	}
	return out, nil
}

func keyBinary(b []byte, k Key) []byte {
	b = binary.AppendUvarint(b, uint64(len(k.RecordID)))
	b = append(b, k.RecordID...)
	return binary.LittleEndian.AppendUint32(b, uint32(k.EffectiveFrom))
}

func (r *Replay) versions(ctx context.Context, spec *feed.Spec, keys []Key, out map[Key][]flow.Version) error {
	// Workers go on meanwhile.
	if err := r.s.resume(ctx, []*Assignment{&r.ledger}); err != nil {
		return err
	}
	p := r.ledger.inside()
	if p == nil || len(keys) == 0 {
		return nil
	}
	var table []byte
	for _, k := range keys {
		table = keyBinary(table, k)
	}
	date := ""
	if spec.KeyHasDate() {
		date = ", effective_from"
	}
	cast := strings.Replace(date, "effective_from", "CAST(effective_from, 'Date32')", 1)
	sql := "SELECT DISTINCT record_id, " + keyDate(spec) + ", " + feed.ColVersion + "\nFROM " + quoteName(spec.HistoryTable()) +
		"\nWHERE reporting_unit = {unit:String} AND (record_id" + date + ") IN (SELECT record_id" + cast + " FROM wanted)" +
		"\nAND " + insideLedger +
		"\nAND (_incarnation, _partition, _offset, _row) NOT IN (SELECT incarnation, partition, offset, row FROM quarantine_open WHERE topic = {topic:String})" +
		"\nAND (_incarnation, _partition, _offset) NOT IN (SELECT incarnation, partition, offset FROM quarantine_open WHERE topic = {topic:String} AND whole)" +
		"\nFORMAT RowBinary"
	return r.s.ask(ctx, sql, p, "record_id String, effective_from Int32", table, func(_, id []byte, date int32, v flow.Version) {
		k := Key{RecordID: string(id), EffectiveFrom: date}
		out[k] = append(out[k], v)
	})
}

// Replayed is what a replay made of one record.
type Replayed struct {
	Offset int64
	Row    int32
	Kind   string
	// First and Epoch name the live cut that holds the position, ArrivedAt is when
	// it arrived.
	First     int64
	Epoch     uint32
	ArrivedAt time.Time

	WasFeed, WasBatch, WasRule string
	Feed, Batch                string
	Outcome                    flow.Outcome
	Warnings                   []string
	// Reject says why it is refused again.
	Reject *flow.Reject
	// Of the batch, as flow.Counts.
	Declared int64
	Chunks   []flow.Chunk
	SHA256   string
}

// Chunk is what a replay writes at a time.
type Chunk struct {
	Partition   int32
	First, Last int64
	Parts       []flow.Batch
	Records     []Replayed
	At          time.Time
}

// Write makes a chunk durable; its ledger row comes last, and nothing counts
// before. It may be called again after an error. ErrFenced says that another
// replay of the topic has begun. It borrows the chunk.
func (r *Replay) Write(ctx context.Context, c Chunk) error {
	if len(c.Records) == 0 {
		return nil
	}
	if r.claim == nil {
		return r.remember(c)
	}
	for _, p := range c.Parts {
		if err := r.s.store(ctx, p.Feed, p.Rows); err != nil {
			return err
		}
	}
	if err := r.records(ctx, c); err != nil {
		return err
	}
	fenced, err := r.s.fenced(ctx, []*Assignment{r.claim})
	if err == nil {
		err = fenced[0]
	}
	if err != nil {
		return err
	}
	return insertJSON(ctx, r.s, "ledger", columnNames("ledger"), []ledgerRow{r.row(c)})
}

func (r *Replay) row(c Chunk) ledgerRow {
	row := ledgerRow{
		Topic: r.Topic, Incarnation: r.Incarnation, Partition: c.Partition, First: c.First, Last: c.Last, Epoch: r.claim.Epoch,
		Run: r.Run, Kind: kindReplay, Worker: r.by, Revision: r.s.opt.Revision,
		ArrivedAt: stamp(c.At), Reason: r.reason, WrittenAt: stamp(time.Now()),
	}
	var change flow.Counts
	for i := range c.Records {
		if n := &c.Records[i]; n.Kind != Again {
			if n.Kind == Moved {
				change.Received--
				change.By[flow.Rejected]--
			}
			change.Received++
			change.By[n.Outcome]++
		}
	}
	if !change.Balanced() {
		panic(fmt.Sprintf("BUG: replay %s of %s/%d@%d-%d: the change %v does not balance", r.Run, r.Topic, c.Partition, c.First, c.Last, change))
	}
	row.add(&change)
	return row
}

func (r *Replay) records(ctx context.Context, c Chunk) error {
	type row struct {
		Topic       string   `json:"topic"`
		Incarnation int32    `json:"incarnation"`
		Partition   int32    `json:"partition"`
		Offset      int64    `json:"offset"`
		Row         int32    `json:"row"`
		Run         string   `json:"run"`
		Claim       uint32   `json:"claim"`
		Chunk       int64    `json:"chunk"`
		Kind        string   `json:"kind"`
		First       int64    `json:"first_offset"`
		Epoch       uint32   `json:"epoch"`
		Unit        string   `json:"unit"`
		ArrivedAt   string   `json:"arrived_at"`
		WasFeed     string   `json:"was_feed"`
		WasBatch    string   `json:"was_batch"`
		WasRule     string   `json:"was_rule"`
		Feed        string   `json:"feed"`
		Batch       string   `json:"batch"`
		Outcome     string   `json:"outcome"`
		Warnings    []string `json:"warnings"`
		Declared    int64    `json:"declared"`
		Chunks      []int32  `json:"chunks"`
		Rows        []int64  `json:"chunk_rows"`
		Offsets     []int64  `json:"chunk_offsets"`
		SHA256      string   `json:"sha256"`
		BatchID     string   `json:"batch_id"`
		RecordID    string   `json:"record_id"`
		Rule        string   `json:"rule"`
		Fields      []string `json:"fields"`
		Rules       []string `json:"rules"`
		Kept        string   `json:"kept"`
		ReplayedAt  string   `json:"replayed_at"`
	}
	at := stamp(time.Now())
	rows := make([]row, len(c.Records))
	for i := range c.Records {
		n := &c.Records[i]
		out := row{
			Topic: r.Topic, Incarnation: r.Incarnation, Partition: c.Partition, Offset: n.Offset, Row: n.Row,
			Run: r.Run, Claim: r.claim.Epoch, Chunk: c.First, Kind: n.Kind,
			First: n.First, Epoch: n.Epoch, Unit: r.Unit, ArrivedAt: stamp(n.ArrivedAt),
			WasFeed: n.WasFeed, WasBatch: n.WasBatch, WasRule: n.WasRule, Feed: n.Feed, Batch: n.Batch, Outcome: n.Outcome.String(),
			Warnings: list(n.Warnings), Declared: n.Declared, Chunks: []int32{}, Rows: []int64{}, Offsets: []int64{}, SHA256: n.SHA256,
			Fields: []string{}, Rules: []string{}, ReplayedAt: at,
		}
		for _, c := range n.Chunks {
			out.Chunks, out.Rows, out.Offsets = append(out.Chunks, c.Number), append(out.Rows, c.Rows), append(out.Offsets, c.Offset)
		}
		if j := n.Reject; j != nil {
			out.BatchID, out.RecordID, out.Kept, out.Rule = j.Batch, j.RecordID, j.Kept, j.Findings[0].Rule.String()
			for _, f := range j.Findings {
				out.Fields, out.Rules = append(out.Fields, f.Field), append(out.Rules, f.Rule.String())
			}
		}
		rows[i] = out
	}
	return insertJSON(ctx, r.s, "replayed", columnNames("replayed"), rows)
}

// remember keeps the versions of a chunk that is not written, so that what
// follows in the rehearsal is judged as it would be.
func (r *Replay) remember(c Chunk) error {
	for _, p := range c.Parts {
		if r.done[p.Feed.Feed] == nil {
			r.done[p.Feed.Feed] = make(map[string][]flow.Version)
		}
		if err := eachVersion(p, func(k Key, v flow.Version) {
			id := string(keyBinary(nil, k))
			r.done[p.Feed.Feed][id] = append(r.done[p.Feed.Feed][id], v)
		}); err != nil {
			return err
		}
	}
	return nil
}

// Runs lists the replays of the ledger, the newest first.
func (s *Sink) Runs(ctx context.Context) ([]Run, error) {
	var out []Run
	err := s.rows(ctx, `SELECT run, any(worker), any(reason), min(written_at), -sum(rejected) FROM ledger FINAL WHERE kind = '`+kindReplay+`' GROUP BY run ORDER BY min(written_at) DESC, run`,
		nil, func(scan func(...any) error) error {
			var r Run
			err := scan(&r.Run, &r.By, &r.Reason, &r.At, &r.Moved)
			out = append(out, r)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("cannot read the replays of the ledger: %w", err)
	}
	return out, nil
}

// Run is one replay as the ledger knows it. Moved is by how much the number of
// refused records fell.
type Run struct {
	Run, By, Reason string
	At              time.Time
	Moved           int64
}

// NewRun names a replay: when it began, and something of its own.
func NewRun(now time.Time) string {
	return "replay-" + now.UTC().Format("20060102T150405Z") + "-" + uuid()[:8]
}

// KeyTrouble says that rows made with the given keys differ from those that
// stand in the tables under the same record and moment.
type KeyTrouble struct{ Feed, What string }

// What KeyTrouble can be about.
const (
	HashKey   = "hash key"
	TokenKeys = "chain of token keys"
)

func (k *KeyTrouble) Error() string {
	return fmt.Sprintf("the %s given here is not the one with which the workers wrote feed %s", k.What, k.Feed)
}

// SameKeys compares rows that were made anew from messages with the stored ones
// of the same records and moments, and says how many there were to compare. An
// error of type *KeyTrouble says that the hash key or the token keys are others.
// It borrows rows.
func (s *Sink) SameKeys(ctx context.Context, b flow.Batch) (compared uint64, err error) {
	body, structure, err := rowsTable(b, func(c feed.Column) bool {
		switch c.Name {
		case "reporting_unit", "record_id", "effective_from", "reported_at", feed.ColVersion:
			return true
		}
		return c.Store == feed.StoreToken
	})
	if err != nil {
		return 0, err
	}
	join := "w.record_id = h.record_id AND w.reported_at = h.reported_at"
	if b.Feed.KeyHasDate() {
		join += " AND w.effective_from = h.effective_from"
	}
	same := []string{"true"}
	for _, c := range b.Feed.Columns() {
		if c.Store == feed.StoreToken {
			same = append(same, "w."+quoteName(c.Name)+" IS NOT DISTINCT FROM h."+quoteName(c.Name))
		}
	}
	data, contentType, err := multipartTable("w", body.Bytes())
	if err != nil {
		return 0, err
	}
	// The low 16 bits are the revision; two contents of one moment (a conflict)
	// have two hashes, so one that agrees is enough.
	sql := "SELECT count(), countIf(hash), countIf(hash AND tokens) FROM (SELECT max(bitShiftRight(w._version, 16) = bitShiftRight(h._version, 16)) AS hash, " +
		"max(bitShiftRight(w._version, 16) = bitShiftRight(h._version, 16) AND " + strings.Join(same, " AND ") + ") AS tokens\nFROM w INNER JOIN (SELECT * FROM " +
		quoteName(b.Feed.HistoryTable()) + " WHERE record_id IN (SELECT record_id FROM w) AND reporting_unit IN (SELECT reporting_unit FROM w)) AS h ON w.reporting_unit = h.reporting_unit AND " + join +
		"\nGROUP BY w.record_id, w.reported_at, w.effective_from)\nFORMAT RowBinary"
	resp, err := s.send(ctx, sql, nil, map[string]string{"w_format": "ArrowStream", "w_structure": structure, "wait_end_of_query": "1"}, contentType, data)
	if err != nil {
		return 0, fmt.Errorf("cannot compare rows of %s: %w", b.Feed.Feed, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, serverError(err)
	}
	if len(answer) != 24 {
		return 0, broken(io.ErrUnexpectedEOF)
	}
	n := func(i int) uint64 { return binary.LittleEndian.Uint64(answer[8*i:]) }
	switch {
	case n(0) > 0 && n(1) == 0:
		return n(0), &KeyTrouble{b.Feed.Feed, HashKey}
	case n(1) > n(2):
		return n(0), &KeyTrouble{b.Feed.Feed, TokenKeys}
	}
	return n(0), nil
}
