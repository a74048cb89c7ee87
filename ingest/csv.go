package ingest

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// gbBOM is the byte order mark in GB18030.
var gbBOM = []byte("\x84\x31\x95\x33")

// csv reads a chunk with a header row of field names or Chinese headings. Text
// is UTF-8 when all of it is, else GB18030; some 2,067 codes of GB18030 have no
// character in x/text's table and become U+FFFD, which stays for damaged_text.
func (d *Decoder) csv(b []byte, charset string) (feed.Rule, error) {
	switch {
	case bytes.HasPrefix(b, bom):
		b = b[len(bom):]
	case charset == "gb18030" || charset == "gbk" || charset == "gb2312" || charset == "" && !utf8.Valid(b):
		// A label is believed even where the bytes are UTF-8 by chance.
		var err error
		b, err = simplifiedchinese.GB18030.NewDecoder().Bytes(bytes.TrimPrefix(b, gbBOM))
		if err != nil {
			return feed.MessageUndecodable, nil
		}
	case charset != "" && charset != "utf-8" && charset != "utf8":
		return feed.ContentTypeUnknown, nil
	}
	d.dirty = !utf8.Valid(b)
	cr := csv.NewReader(bytes.NewReader(b))
	cr.ReuseRecord = true
	cr.FieldsPerRecord = -1
	line, err := cr.Read()
	if err != nil {
		return feed.MessageUndecodable, nil
	}
	head := make([]string, len(line))
	for i, h := range line {
		head[i] = strings.Clone(strings.TrimSpace(strings.TrimPrefix(h, "\uFEFF")))
	}
	for len(head) > 0 && head[len(head)-1] == "" {
		head = head[:len(head)-1]
	}
	feedCol := -1
	for i, h := range head {
		if h == feed.Envelope[feed.FieldFeed].Name || h == feed.Envelope[feed.FieldFeed].Zh {
			feedCol = i
		}
	}
	if feedCol < 0 && len(d.head.feed) == 0 {
		return feed.FeedUnknown, nil
	}
	var plan *plan
	n := 0
	for {
		line, err = cr.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return feed.MessageUndecodable, nil
		}
		r := d.start()
		if feedCol >= 0 && feedCol < len(line) && len(d.head.feed) == 0 {
			r = d.rowsOf([]byte(strings.TrimSpace(line[feedCol])))
		}
		if blank(line) {
			continue
		}
		n++
		d.finds, d.text = d.finds[:0], d.text[:0]
		if r == nil {
			d.find("feed", feed.FeedUnknown)
			d.meet("", d.head.batch)
			d.refuse("", nil, d.row)
			d.row++
			continue
		}
		if plan == nil || plan.rows != r {
			plan = d.plan(r, head)
		}
		r.begin()
		d.finds = append(d.finds, plan.finds...)
		cells := len(line)
		for cells > len(head) && line[cells-1] == "" {
			cells--
		}
		if cells != len(head) {
			// Which cell is missing or split cannot be known.
			d.find("", feed.MessageUndecodable)
		}
		for i := range min(cells, len(head)) {
			if f := plan.fields[i]; f >= 0 && line[i] != "" {
				// The cell is read and copied before the next Read reuses it.
				v := bytesOf(line[i])
				if d.dirty {
					v = d.mend(v)
				}
				r.set(f, v)
			}
		}
		if name := bytes.TrimSpace(r.value(feed.FieldFeed)); len(name) > 0 && string(name) != r.spec.Feed {
			d.finds = d.finds[:0]
			d.find("feed", feed.FeedUnknown)
		}
		if err := d.finish(r); err != nil {
			return feed.NoRule, err
		}
	}
	if n == 0 {
		return feed.MessageEmpty, nil
	}
	return d.bounded(), nil
}

func blank(line []string) bool {
	for _, c := range line {
		if strings.TrimSpace(c) != "" {
			return false
		}
	}
	return true
}

// plan says which field each column of a chunk is, and what every record of the
// chunk breaks by its header alone.
type plan struct {
	rows   *rows
	fields []int
	finds  []flow.Finding
}

func (d *Decoder) plan(r *rows, head []string) *plan {
	p := &plan{rows: r, fields: make([]int, len(head))}
	all := r.spec.All()
	used := make([]bool, len(all))
	saved := d.finds
	d.finds = nil
	for i, h := range head {
		f := r.spec.Index(h)
		for k := 0; f < 0 && k < len(all); k++ {
			if all[k].Zh == h || strings.EqualFold(all[k].Name, h) {
				f = k
			}
		}
		p.fields[i] = f
		switch {
		case f < 0:
			d.misnamed(r, h)
		case used[f]:
			d.find(all[f].Name, feed.DuplicateField)
			p.fields[i] = -1
		default:
			used[f] = true
		}
	}
	p.finds, d.finds = d.finds, saved
	return p
}
