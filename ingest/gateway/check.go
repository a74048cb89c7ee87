package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/duiwu/duiwu/ingest/mapping"
	"github.com/duiwu/duiwu/ingest/sheet"
	"github.com/duiwu/duiwu/ingest/template"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

const (
	// maxFindings is how many findings are answered one by one; all are counted.
	maxFindings = 1000
	// maxShown is how many rows with findings are given back with their cells.
	maxShown = 500
)

// checked is a report as it is answered: what duiwu check --json prints, and what
// the page needs to show it in place.
type checked struct {
	Feed      string          `json:"feed"`
	Rows      int             `json:"rows"`
	Accepted  int             `json:"accepted"`
	Findings  []sheet.Finding `json:"findings"`
	Truncated int             `json:"truncated"`
	Effective string          `json:"effective_from"`
	Counts    []ruleCount     `json:"counts"`
	Notes     []note          `json:"notes"`
	// Lines are the sender's own rows, given back to nobody else.
	Lines []sheet.Line `json:"lines"`
}

type ruleCount struct {
	Rule     string `json:"rule"`
	Severity string `json:"severity"`
	Count    int    `json:"count"`
}

type note struct {
	Zh string `json:"zh"`
	En string `json:"en"`
}

// counted is a step that refuses to judge more rows than one batch may have.
type counted struct {
	step flow.Step
	left int
}

func (c *counted) Apply(ctx context.Context, in flow.Cut) (flow.Cut, error) {
	for _, p := range in.Parts {
		c.left -= int(p.Rows.NumRows())
	}
	if c.left < 0 {
		return flow.Cut{}, errTooManyRows
	}
	return c.step.Apply(ctx, in)
}

var errTooManyRows = errors.New("too many rows")

func (g *Gateway) tooManyRows() *problem {
	return refuse(http.StatusRequestEntityTooLarge, "too-many-rows",
		fmt.Sprintf("一个批次最多 %d 行，请拆成几份报送。", g.opt.Limits.Rows),
		fmt.Sprintf("A batch has %d rows at most; send it in parts.", g.opt.Limits.Rows))
}

// asOf reads the parameter; the day of the request stands in for none, for the
// date of a file does not come with a body.
func (c *call) asOf() (time.Time, error) {
	text := c.r.URL.Query().Get("as_of")
	if text == "" {
		return c.g.opt.Clock().In(feed.Shanghai), nil
	}
	day, err := time.ParseInLocation(time.DateOnly, text, feed.Shanghai)
	if err != nil {
		return time.Time{}, refuse(http.StatusBadRequest, "parameter", "as_of 应写成 2016-11-30。", "as_of is written 2016-11-30.")
	}
	return day, nil
}

// number reads a whole number between two bounds from the query.
func (c *call) number(name string, otherwise, least, most int) (int, error) {
	text := c.r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, refuse(http.StatusBadRequest, "parameter", fmt.Sprintf("%s 应为 %d 到 %d 的整数。", name, least, most),
			fmt.Sprintf("%s is a whole number from %d to %d.", name, least, most))
	}
	return n, nil
}

// choice reads one of some words from the query, the first one when absent.
func (c *call) choice(name string, words ...string) (string, error) {
	text := c.r.URL.Query().Get(name)
	if text == "" {
		return words[0], nil
	}
	for _, w := range words {
		if w == text {
			return text, nil
		}
	}
	return "", refuse(http.StatusBadRequest, "parameter", fmt.Sprintf("%s 应为 %v 之一。", name, words), fmt.Sprintf("%s is one of %v.", name, words))
}

// check judges a body and keeps nothing of it.
func (c *call) check() error {
	asOf, err := c.asOf()
	if err != nil {
		return err
	}
	shown, err := c.number("rows", 0, 0, maxShown)
	if err != nil {
		return err
	}
	format, err := c.choice("format", "json", "xlsx")
	if err != nil {
		return err
	}
	up, err := c.body()
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(up.path) }() // the start of a process empties the folder too
	free, err := c.slot()
	if err != nil {
		return err
	}
	defer free()
	file, err := sheet.Open(up.path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was only read
	step, release := c.g.opt.Check()
	defer release()
	report, err := sheet.Check(c.r.Context(), file, sheet.Options{
		Catalogue: c.g.opt.Catalogue, Feed: c.feed, Unit: c.unit, AsOf: asOf, Step: &counted{step, c.g.opt.Limits.Rows},
		Clock: c.g.opt.Clock, MaxFindings: maxFindings, Mapping: c.mapping(),
	})
	if errors.Is(err, errTooManyRows) {
		return c.g.tooManyRows()
	}
	if err != nil {
		return err
	}
	if format == "xlsx" {
		return c.annotated(file, report, up.path+".xlsx")
	}
	out := checked{Feed: report.Feed, Rows: report.Rows, Accepted: report.Accepted, Truncated: report.Truncated(), Effective: report.Effective,
		Findings: []sheet.Finding{}, Counts: []ruleCount{}, Notes: []note{}, Lines: []sheet.Line{}}
	report.Findings(func(f sheet.Finding) bool {
		out.Findings = append(out.Findings, f)
		return true
	})
	for _, rule := range feed.Rules() {
		if n := report.Counts[rule]; n > 0 {
			out.Counts = append(out.Counts, ruleCount{rule.String(), rule.Severity().String(), n})
		}
	}
	for _, n := range report.Notes {
		out.Notes = append(out.Notes, note{n.Zh, n.En})
	}
	if shown > 0 {
		if out.Lines, err = sheet.Lines(c.r.Context(), file, report, shown); err != nil {
			return err
		}
	}
	return c.json(http.StatusOK, out)
}

// annotated answers a copy of the file with the bad cells marked.
func (c *call) annotated(file *sheet.File, report *sheet.Report, path string) error {
	defer func() { _ = os.Remove(path) }() // nothing is kept
	if err := sheet.Annotate(file, report, path); err != nil {
		if errors.Is(err, sheet.ErrAnnotate) {
			return refuse(http.StatusRequestEntityTooLarge, "too-large-to-mark", "文件太大，不能生成标注副本；请看检查结果的列表。", "The file is too large for a marked copy; use the list of findings.")
		}
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	c.attachment(xlsx, c.feed.Feed+"-marked.xlsx")
	_, err = f.WriteTo(c.w)
	return err
}

// mapping is the one that the unit's files of the feed are read by, if any.
func (c *call) mapping() *mapping.Mapping {
	if c.g.opt.Mapping == nil {
		return nil
	}
	return c.g.opt.Mapping(c.unit, c.feed.Feed)
}

func (c *call) attachment(media, name string) {
	c.w.Header().Set("Content-Type", media)
	c.w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
}

// template answers the workbook that a clerk fills in.
func (c *call) template() error {
	c.attachment(xlsx, c.feed.Feed+"-template.xlsx")
	return template.Write(c.w, c.g.opt.Catalogue, c.feed)
}
