package plugin

import (
	"context"
	"fmt"

	"github.com/duiwu/duiwu/internal/worklist"
)

// people reads whose tokens are one person, as it stands or as it stood.
func (d *Datasource) people(ctx context.Context, asOf bool, params map[string]string) (*worklist.People, error) {
	rows, err := d.query(ctx, worklist.Facts(d.catalogue.Contract, asOf), params)
	if codeOf(err) == codeUnknownTable {
		return nil, nil // the tables were filled by hand
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the decisions of the worklist: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var facts []worklist.Fact
	for rows.Next() {
		var f worklist.Fact
		if err := f.Scan(rows.Scan); err != nil {
			return nil, fmt.Errorf("cannot read the decisions of the worklist: %w", err)
		}
		facts = append(facts, f)
	}
	if err := rows.Err(); err != nil && codeOf(err) != codeUnknownTable {
		return nil, fmt.Errorf("cannot read the decisions of the worklist: %w", err)
	}
	return worklist.NewPeople(facts), nil
}
