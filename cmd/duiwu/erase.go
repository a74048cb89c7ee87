package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/duiwu/duiwu/sink"
)

// runErase takes one record out of the tables at its person's request.
func runErase(ctx context.Context, env *environment, args []string) error {
	var d database
	var e sink.Erasure
	fs := env.flags("erase", "--unit U --feed F --record-id ID --by NAME --reason TEXT [--dry-run] | --list")
	d.flags(fs)
	fs.StringVar(&e.Unit, "unit", "", "reporting unit of the record")
	fs.StringVar(&e.Feed, "feed", "", "feed of the record")
	fs.StringVar(&e.RecordID, "record-id", "", "the record's id; it goes in all its versions and days")
	fs.StringVar(&e.By, "by", "", "your name, kept in the table erased")
	fs.StringVar(&e.Reason, "reason", "", "why, kept in the table erased; no personal data")
	dry := fs.Bool("dry-run", false, "say what would go, and change nothing")
	list := fs.Bool("list", false, "list what was erased")
	asJSON := fs.Bool("json", false, "print JSON")
	if _, err := env.parse(fs, args, 0, 0); err != nil {
		return err
	}
	if !*list && (e.Unit == "" || e.Feed == "" || e.RecordID == "") {
		return errors.New("give --unit, --feed and --record-id: which record goes")
	}
	if !*list && !*dry && (e.By == "" || e.Reason == "") {
		return errors.New("give --by NAME and --reason TEXT: who erases and why is kept (or look first with --dry-run)")
	}
	s, err := d.open(ctx, env, hostname())
	if err != nil {
		return err
	}
	defer s.Close()
	if *list {
		return listErased(ctx, env, s, *asJSON)
	}
	found, err := s.Find(ctx, e)
	if err != nil {
		return err
	}
	if !*dry {
		if err := s.Erase(ctx, e); err != nil {
			return err
		}
	}
	if *asJSON {
		return json.NewEncoder(env.stdout).Encode(struct {
			DryRun bool `json:"dry_run"`
			sink.Found
		}{*dry, found})
	}
	zh, en := "已删除", "erased"
	if *dry {
		zh, en = "将删除", "would be erased"
	}
	_, err = fmt.Fprintf(env.stdout, "%s：历史表 %d 行，现状表 %d 行，拒收记录 %d 条的内容。\n%s: %d rows of the history, %d of the current table, what was kept of %d refusals.\n",
		zh, found.History, found.Current, found.Refused, en, found.History, found.Current, found.Refused)
	if err == nil && !*dry {
		_, err = fmt.Fprint(env.stdout, "原始消息仍在 Kafka 中，直至其保留期满；备份须另行处理。此后该记录一律拒收。\n"+
			"The messages stay in Kafka until its retention is over, and backups have to be seen to; the record is refused from now on.\n")
	}
	return err
}

func listErased(ctx context.Context, env *environment, s *sink.Sink, asJSON bool) error {
	all, at, err := s.Erased(ctx, "")
	if err != nil {
		return err
	}
	if asJSON {
		type row struct {
			Unit     string    `json:"unit"`
			Feed     string    `json:"feed"`
			RecordID string    `json:"record_id"`
			By       string    `json:"by"`
			Reason   string    `json:"reason"`
			At       time.Time `json:"erased_at"`
		}
		rows := make([]row, len(all))
		for i, e := range all {
			rows[i] = row{e.Unit, e.Feed, e.RecordID, e.By, e.Reason, at[i]}
		}
		return json.NewEncoder(env.stdout).Encode(rows)
	}
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "unit\tfeed\trecord\terased\tby\treason")
	for i, e := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", e.Unit, e.Feed, e.RecordID, at[i].Format(time.DateTime), e.By, e.Reason)
	}
	return w.Flush()
}
