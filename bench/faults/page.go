package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const pageHead = `# Reliability

Made by ` + "`make soak`" + `, do not edit. The production worker stands between an Apache Kafka and a real ClickHouse, with a proxy in each
connection that recognises what passes and strikes at an exact moment. Each fault meets %d messages of one unit in two
partitions with every outcome planted among them, in cuts of 40 records.

A cell is passed when, after the fault is over and with nobody's help,

- every row of the history, the current tables and the quarantine is there once, at its position, and none is too many,
- every outcome is counted as in a run that nobody disturbed, in the receipts and in the balance,
- received = stored + duplicate + rejected, the ledger covers the log without a gap or an overlap.

Where messages lie in other partitions or in another order than in the undisturbed run, positions and the names of outcomes
are not compared: the rows are, and the balance has to say as many stored as there are rows.

It then shows how long it took from the end of the fault until everything was in the ledger, on a busy machine: the
session timeout of these runs is 2 s, the timeout of a request to the database 4 s, and the pause between two tries doubles
from 0.2 s. In the rows of a migration and of ` + "`duiwu push`" + ` it is that command which is struck, in place of the worker; it is run again
until it succeeds, and a worker reads what came. In those of the gateway it is the gateway, which has taken a file in. **✗** is a cell that is not passed, · one that was not run.

`

// page writes the report.
func (s *results) page() string {
	var b strings.Builder
	fmt.Fprintf(&b, pageHead, len(newLoad(keys, 1).messages))
	at := map[[2]string]result{}
	passed := 0
	for _, r := range s.Cells {
		at[[2]string{r.Moment, r.Fault}] = r
		if len(r.Problems) == 0 {
			passed++
		}
	}
	fmt.Fprintf(&b, "%d of %d cells that were run are passed.", passed, len(s.Cells))
	if older := s.older(); older > 0 {
		fmt.Fprintf(&b, " %d of them were run with an earlier revision of the code than the last one.", older)
	}
	b.WriteString("\n\n## Every fault at every moment\n\n")
	for _, f := range faults {
		fmt.Fprintf(&b, "- **%s**: %s\n", f.name, f.says)
	}
	b.WriteString("\n| moment |")
	for _, f := range faults {
		fmt.Fprintf(&b, " %s |", f.name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(faults)) + "\n")
	for _, m := range moments {
		fmt.Fprintf(&b, "| %s |", m.says)
		for _, f := range faults {
			fmt.Fprintf(&b, " %s |", at[[2]string{m.says, f.name}].cell())
		}
		b.WriteByte('\n')
	}
	b.WriteString("\n## Other faults\n\nWhat the operator has to do is written where something has to be done; everything else heals by itself.\n\n| fault | result | what the operator does | what the operator sees |\n|---|---|---|---|\n")
	for _, c := range situations {
		r := at[[2]string{situation0, c.name}]
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", c.says, r.cell(), c.operator, escape(strings.Join(r.Saw, "<br>")))
	}
	b.WriteString("\n## The same records in other ways\n\nThe current tables are the same byte for byte, the history too but for its arrivals, positions and the names of outcomes; where the order within each key is kept, every outcome is counted the same.\n\n| way | result |\n|---|---|\n")
	for _, v := range variants {
		fmt.Fprintf(&b, "| %s | %s |\n", v.name, at[[2]string{variant0, v.name}].cell())
	}
	b.WriteString("\n## Random faults, for a long time\n\n")
	if s.Soak == nil {
		b.WriteString("Not run: `make soak ARGS=\"--for 3h --seed 7\"`.\n")
	} else {
		s.Soak.section(&b)
	}
	b.WriteString("\n## What the operator sees of the faults at moments\n\nWarnings and errors of the worker's log; … stands for addresses, topics and offsets.\n\n")
	for _, f := range faults {
		saw := map[string]bool{}
		for _, r := range s.Cells {
			if r.Fault == f.name {
				for _, line := range r.Saw {
					saw[line] = true
				}
			}
		}
		var lines []string
		for line := range saw {
			lines = append(lines, line)
		}
		slices.Sort(lines)
		fmt.Fprintf(&b, "**%s**\n\n", f.name)
		if len(lines) == 0 {
			b.WriteString("nothing: the next worker goes on where the ledger ends\n")
		}
		for _, line := range lines {
			fmt.Fprintf(&b, "- %s\n", line)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// section tells of a random schedule.
func (k *soak) section(b *strings.Builder) {
	total := 0
	var kinds []string
	for _, f := range faults {
		total += k.Faults[f.name]
		kinds = append(kinds, fmt.Sprintf("%s %d", f.name, k.Faults[f.name]))
	}
	took := fmt.Sprintf("%.0fm", k.Took.Minutes())
	fmt.Fprintf(b, "`make soak ARGS=\"--for %s --seed %d\"`: each round is a load of its own in a fresh cell, sent in bursts and struck two to five times while it is sent and read; "+
		"then its rows, outcomes and balance have to be as above. One schedule in one piece of %s: %d rounds (seeds %d to %d), %d faults (%s), %d of them at a moment of the table above, the others between two. ",
		took, k.First, took, k.Rounds, k.First, k.Last, total, strings.Join(kinds, ", "), total-k.Between)
	if len(k.Failed) == 0 {
		b.WriteString("Every round passed.\n")
	}
	for _, f := range k.Failed {
		fmt.Fprintf(b, "\n- **✗** %s\n", escape(f))
	}
}

// older is how many cells were run with another revision than the last one was.
func (s *results) older() (n int) {
	for _, r := range s.Cells {
		if r.Revision != s.Cells[len(s.Cells)-1].Revision {
			n++
		}
	}
	return n
}

func escape(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func (r result) cell() string {
	switch {
	case r.Fault == "":
		return "·"
	case len(r.Problems) > 0:
		return "**✗**"
	case r.Recovery == 0:
		return "✓"
	}
	return fmt.Sprintf("✓ %.0f s", max(1, r.Recovery.Round(time.Second).Seconds()))
}
