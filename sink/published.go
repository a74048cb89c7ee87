package sink

// publishedTables hold the figures of months as they were published. An edition
// is written once, by one attempt: its figures first, and last the row of
// publications that names the attempt. Figures of an attempt that no such row
// names do not count, so that a writer may die at any moment and try again.
// `duiwu publish` writes them (charts/pkg/edition).
func publishedTables() []table {
	return []table{
		{
			name: "published_figures",
			columns: []column{
				{"indicator", code, ""}, {"dimension", code, ""}, {"month", "Date32", ""}, {"attempt", "UUID", ""},
				{"unit", code, ""}, {"code", code, ""}, {"definition_version", "UInt16", ""},
				{"value", "Nullable(Float64)", ""}, {"numerator", "Nullable(Float64)", ""}, {"denominator", "Nullable(Float64)", ""},
				{"state", code, ""}, {"counted", "Bool", ""}, {"source_rows", "UInt64", ""},
			},
			engine:  "ReplacingMergeTree",
			order:   []string{"indicator", "dimension", "month", "attempt", "unit", "code"},
			comment: "Figures as published, by unit (empty: the nation) and code of a dimension; month is its last day; a hidden cell has a state and no value; counted: it has one, shown or hidden",
		},
		{
			name: "publications",
			columns: []column{
				{"month", "Date32", ""}, {"edition", "UInt16", ""}, {"state", code, ""}, {"attempt", "UUID", ""},
				{"who", "String", ""}, {"reason", "String", ""}, {"at", moment, ""},
				// What an edition rests on; a row of another state leaves them empty.
				{"read_at", moment, ""}, {"reported_at", moment, ""}, {"positions", "Map(String, Int64)", ""},
				{"figures", "UInt64", ""}, {"suppress_below", "Int32", ""}, {"software", "String", ""},
				// Beside each other: the units that were late, with which feed and month.
				{"missing_unit", "Array(String)", ""}, {"missing_feed", "Array(String)", ""},
				{"missing_expected", "Array(String)", ""}, {"missing_last", "Array(String)", ""},
			},
			engine:  "MergeTree",
			order:   []string{"month", "edition", "at"},
			comment: "What was done to a month's figures: published, approved, reopened, by whom and why; of two that published one edition the earlier counts",
		},
	}
}
