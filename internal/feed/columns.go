package feed

// Column is one column of a feed's tables: what the transform steps produce,
// what the sink writes, what the charts read.
type Column struct {
	Name string
	// Store is the in-memory form.
	Store Store
	// ClickHouse is the column's type in the database.
	ClickHouse string
	// Nullable says that an absent value is NULL; a column that is not nullable
	// and not required holds the empty text or list instead.
	Nullable bool
	// Field is the position in Spec.All of the field it comes from, -1 for a
	// system column.
	Field int
	// Precision marks the column that says how exact the date of Field is.
	Precision bool
	// Current says that the narrow current table holds the column too.
	Current bool
}

// The system columns of every feed's history table. A row's position (topic,
// incarnation, partition, offset, row in the message) is where Kafka holds the
// record that it came from.
const (
	// ColVersion orders the versions of one record: reported_at in
	// milliseconds (64 bits), 0 for a void (1 bit), a keyed hash of the record
	// as sent (47 bits), the revision of mapping and code (16 bits).
	ColVersion = "_version"
	// ColDeleted is 1 in a void.
	ColDeleted = "_is_deleted"
	// ColOutcome is new, unchanged, correction, superseded, conflict or reprocessed.
	ColOutcome = "_outcome"
	// ColPart is 0 for the record itself and 1 for the void of the record that
	// it corrects; only part 0 counts in the balance.
	ColPart = "_part"
	// ColWarnings lists the ids of broken rules of severity warning, comma-separated.
	ColWarnings = "_warnings"
	ColTopic    = "_topic"
	// ColIncarnation counts how often the topic was made anew.
	ColIncarnation = "_incarnation"
	ColPartition   = "_partition"
	ColOffset      = "_offset"
	ColRow         = "_row"
	// ColArrived is the worker's clock when the row's cut was written.
	ColArrived = "_arrived_at"
)

var systemColumns = []Column{
	{Name: ColVersion, Store: StoreVersion, ClickHouse: "UInt128", Field: -1, Current: true},
	{Name: ColDeleted, Store: StoreByte, ClickHouse: "UInt8", Field: -1, Current: true},
	{Name: ColOutcome, Store: StoreCode, ClickHouse: "LowCardinality(String)", Field: -1},
	{Name: ColPart, Store: StoreByte, ClickHouse: "UInt8", Field: -1},
	{Name: ColWarnings, Store: StoreCode, ClickHouse: "LowCardinality(String)", Field: -1},
	{Name: ColTopic, Store: StoreCode, ClickHouse: "LowCardinality(String)", Field: -1},
	{Name: ColIncarnation, Store: StoreInt32, ClickHouse: "Int32", Field: -1},
	{Name: ColPartition, Store: StoreInt32, ClickHouse: "Int32", Field: -1},
	{Name: ColOffset, Store: StoreInt, ClickHouse: "Int64", Field: -1},
	{Name: ColRow, Store: StoreInt32, ClickHouse: "Int32", Field: -1},
	{Name: ColArrived, Store: StoreTime, ClickHouse: "DateTime64(3, 'Asia/Shanghai')", Field: -1, Current: true},
}

// Columns lists the columns of the feed's history table: the envelope (but the
// feed's name, which is the table's), the feed's own fields, the system columns.
func (s *Spec) Columns() []Column {
	out := make([]Column, 0, len(s.all)+len(systemColumns))
	for i := range s.all {
		if i == FieldFeed {
			continue
		}
		f := &s.all[i]
		out = append(out, Column{
			Name:       f.Column(),
			Store:      f.Kind.Info().Store,
			ClickHouse: f.ClickHouse(),
			Nullable:   !f.Required && !f.Lossy(),
			Field:      i,
			Current:    f.Current,
		})
		if f.Partial {
			out = append(out, Column{
				Name: f.Name + "_precision", Store: StoreCode, ClickHouse: "LowCardinality(String)",
				Field: i, Precision: true, Current: f.Current,
			})
		}
	}
	return append(out, systemColumns...)
}

// HistoryTable returns the name of the table that holds every version of every
// record.
func (s *Spec) HistoryTable() string { return s.Feed + "_history" }

// CurrentTable returns the name of the table that holds the newest version of
// each record, with the fields that dashboards read.
func (s *Spec) CurrentTable() string { return s.Feed }

// Key lists the columns of the record key inside a table.
func (s *Spec) Key() []string {
	if s.KeyHasDate() {
		return []string{"reporting_unit", "record_id", "effective_from"}
	}
	return []string{"reporting_unit", "record_id"}
}

// KnownAt is the parameter of a statement that reads what had arrived by a moment,
// and KnownFormat how its value is written, in the time of Shanghai.
const (
	KnownAt     = "{known:DateTime64(3, 'Asia/Shanghai')}"
	KnownFormat = "2006-01-02 15:04:05.000"
)
