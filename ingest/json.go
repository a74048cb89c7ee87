package ingest

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/duiwu/duiwu/internal/feed"
)

// maxDepth bounds how deep a value that is refused anyway may nest.
const maxDepth = 64

// json reads one object, an array of objects, or objects one after another
// (NDJSON). The scanner is written by hand because a library costs three times
// as much a record and none of them finds a key that stands twice.
func (d *Decoder) json(b []byte) (feed.Rule, error) {
	b = bytes.TrimPrefix(b, bom)
	d.dirty = !utf8.Valid(b)
	p := space(b, 0)
	if at(b, p) == '[' {
		p = space(b, p+1)
		if at(b, p) == ']' {
			return feed.MessageEmpty, nil
		}
		for {
			var ok bool
			var err error
			if p, ok, err = d.record(b, p); err != nil || !ok {
				return feed.MessageUndecodable, err
			}
			p = space(b, p)
			c := at(b, p)
			p = space(b, p+1)
			if c == ']' && p >= len(b) {
				return d.bounded(), nil
			}
			if c != ',' {
				return feed.MessageUndecodable, nil
			}
		}
	}
	for p < len(b) {
		var ok bool
		var err error
		if p, ok, err = d.record(b, p); err != nil || !ok {
			return feed.MessageUndecodable, err
		}
		p = space(b, p)
	}
	return d.bounded(), nil
}

// bounded refuses a message that grew past what a cut can hold.
func (d *Decoder) bounded() feed.Rule {
	if d.expanded > maxExpanded {
		return feed.MessageTooLarge
	}
	return feed.NoRule
}

// record reads one object and finishes it.
func (d *Decoder) record(b []byte, p int) (int, bool, error) {
	r := d.start()
	if r == nil {
		return p, false, nil
	}
	end, ok := d.object(b, p, r)
	if !ok {
		return end, false, nil
	}
	name := bytes.TrimSpace(r.value(feed.FieldFeed))
	if string(name) != r.spec.Feed {
		other := d.rowsOf(name)
		switch {
		case len(name) == 0 && len(d.head.feed) > 0:
		case other == nil || len(d.head.feed) > 0:
			// No feed, an unknown one, or the header says another: the
			// findings made with the wrong field list say nothing.
			d.finds = d.finds[:0]
			d.find("feed", feed.FeedUnknown)
			r.fill(feed.FieldBatchID, d.head.batch)
			known := ""
			if len(d.head.feed) > 0 {
				known = r.spec.Feed
			}
			d.meet(known, r.value(feed.FieldBatchID))
			d.refuse(known, r, d.row)
			d.row++
			return end, true, nil
		default:
			r = other
			if end, ok = d.object(b, p, r); !ok {
				return end, false, nil
			}
		}
	}
	return end, true, d.finish(r)
}

// object reads the object at p into r. Values are slices of b wherever the text
// stands there as it is. It ends at the name of another feed than r's, when that
// decides: the record has to be read with the other's fields.
func (d *Decoder) object(b []byte, p int, r *rows) (int, bool) {
	if at(b, p) != '{' {
		return p, false
	}
	r.begin()
	d.finds, d.text, d.join = d.finds[:0], d.text[:0], d.join[:0]
	p = space(b, p+1)
	if at(b, p) == '}' {
		return p + 1, true
	}
	prev := 0
	for {
		if at(b, p) != '"' {
			return p, false
		}
		// Systems write their keys in one order, so the key is guessed first.
		i := r.next[min(prev, len(r.next)-1)]
		var key []byte
		if q := r.quoted[i]; len(b)-p-1 >= len(q) && string(b[p+1:p+1+len(q)]) == q {
			p += 1 + len(q)
		} else {
			var ok bool
			if key, p, ok = d.str(b, p); !ok {
				return p, false
			}
			if i, ok = r.byName[string(key)]; ok {
				r.next[prev] = i
			} else {
				i = -1
			}
		}
		if at(b, p) != ':' {
			if p = space(b, p); at(b, p) != ':' {
				return p, false
			}
		}
		p++
		if at(b, p) <= ' ' {
			p = space(b, p)
		}
		var v []byte
		var ok bool
		nested := false
		switch c := at(b, p); {
		case c == '"':
			v, p, ok = d.str(b, p)
		case c == '[':
			v, p, nested, ok = d.list(b, p)
		case c == '{':
			p, ok = d.skip(b, p, 1)
			nested = true
		default:
			v, p, ok = scalar(b, p)
		}
		if !ok {
			return p, false
		}
		switch {
		case i < 0:
			d.misnamed(r, string(key))
		case !r.set(i, v):
			d.find(r.spec.All()[i].Name, feed.DuplicateField)
		case nested:
			d.find(r.spec.All()[i].Name, feed.Type)
		case i == feed.FieldFeed && len(d.head.feed) == 0 && string(v) != r.spec.Feed && d.rowsOf(bytes.TrimSpace(v)) != nil:
			return p, true
		}
		if i >= 0 {
			prev = i + 1
		}
		if c := at(b, p); c != ',' && c != '}' {
			p = space(b, p)
		}
		switch at(b, p) {
		case ',':
			if p++; at(b, p) <= ' ' {
				p = space(b, p)
			}
		case '}':
			return p + 1, true
		default:
			return p, false
		}
	}
}

// at returns the byte at p, or 0, which is no part of JSON's grammar.
func at(b []byte, p int) byte {
	if p < len(b) {
		return b[p]
	}
	return 0
}

func space(b []byte, p int) int {
	for p < len(b) && (b[p] == ' ' || b[p] == '\n' || b[p] == '\r' || b[p] == '\t') {
		p++
	}
	return p
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// str reads the string at p, eight bytes at a time up to a quote, a backslash
// or a control character.
func (d *Decoder) str(b []byte, p int) ([]byte, int, bool) {
	s := p + 1
	i := s
	for i+8 <= len(b) {
		w := binary.LittleEndian.Uint64(b[i:])
		q, e := w^(ones*'"'), w^(ones*'\\')
		hit := ((w-ones*0x20)&^w | (q-ones)&^q | (e-ones)&^e) & highs
		if hit != 0 {
			i += bits.TrailingZeros64(hit) >> 3
			break
		}
		i += 8
	}
	for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= 0x20 {
		i++
	}
	switch at(b, i) {
	case '"':
		v := b[s:i]
		if d.dirty {
			v = d.mend(v)
		}
		return v, i + 1, true
	case '\\':
		return d.escaped(b, s, i)
	}
	return nil, i, false
}

// mend puts U+FFFD where bytes do not decode; the damage is found later by its
// rule, which names the field.
func (d *Decoder) mend(v []byte) []byte {
	if utf8.Valid(v) {
		return v
	}
	start := len(d.text)
	for len(v) > 0 {
		c, n := utf8.DecodeRune(v)
		d.text = utf8.AppendRune(d.text, c)
		v = v[n:]
	}
	return d.text[start:]
}

// escaped reads a string whose first backslash stands at i.
func (d *Decoder) escaped(b []byte, s, i int) ([]byte, int, bool) {
	start := len(d.text)
	for {
		d.text = append(d.text, b[s:i]...)
		switch c := at(b, i); {
		case c == '"':
			v := d.text[start:]
			if d.dirty {
				v = d.mend(v)
			}
			return v, i + 1, true
		case c != '\\':
			return nil, i, false // a control character or the end
		}
		c := at(b, i+1)
		i += 2
		switch c {
		case '"', '\\', '/':
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			u, ok := hex4(b, i)
			if !ok {
				return nil, i, false
			}
			i += 4
			if utf16.IsSurrogate(u) {
				low, ok := rune(0), false
				if at(b, i) == '\\' && at(b, i+1) == 'u' {
					low, ok = hex4(b, i+2)
				}
				if u = utf16.DecodeRune(u, low); ok && u != utf8.RuneError {
					i += 6
				}
			}
			d.text = utf8.AppendRune(d.text, u)
			c = 0
		default:
			return nil, i, false
		}
		if c != 0 {
			d.text = append(d.text, c)
		}
		s = i
		for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= 0x20 {
			i++
		}
	}
}

func hex4(b []byte, p int) (rune, bool) {
	if p+4 > len(b) {
		return 0, false
	}
	var u rune
	for _, c := range b[p : p+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		u = u<<4 | rune(c)
	}
	return u, true
}

// scalar reads a number as written, true, false or null (a nil value).
func scalar(b []byte, p int) ([]byte, int, bool) {
	s := p
	switch at(b, p) {
	case 't':
		return word(b, p, "true")
	case 'f':
		return word(b, p, "false")
	case 'n':
		_, p, ok := word(b, p, "null")
		return nil, p, ok
	case '-':
		p++
	}
	switch c := at(b, p); {
	case c == '0':
		p++
	case c >= '1' && c <= '9':
		p = digits(b, p)
	default:
		return nil, p, false
	}
	if at(b, p) == '.' {
		q := digits(b, p+1)
		if q == p+1 {
			return nil, p, false
		}
		p = q
	}
	if c := at(b, p); c == 'e' || c == 'E' {
		p++
		if c := at(b, p); c == '+' || c == '-' {
			p++
		}
		q := digits(b, p)
		if q == p {
			return nil, p, false
		}
		p = q
	}
	return b[s:p], p, true
}

func digits(b []byte, p int) int {
	for p < len(b) && b[p] >= '0' && b[p] <= '9' {
		p++
	}
	return p
}

func word(b []byte, p int, w string) ([]byte, int, bool) {
	if len(b)-p < len(w) || string(b[p:p+len(w)]) != w {
		return nil, p, false
	}
	return b[p : p+len(w)], p + len(w), true
}

// list reads an array of scalars, joined with commas; nested says that it holds
// more than scalars.
func (d *Decoder) list(b []byte, p int) (v []byte, _ int, nested, ok bool) {
	start := len(d.join)
	p = space(b, p+1)
	if at(b, p) == ']' {
		return nil, p + 1, false, true
	}
	for {
		var item []byte
		switch at(b, p) {
		case '"':
			item, p, ok = d.str(b, p)
		case '[', '{':
			nested = true
			p, ok = d.skip(b, p, 2)
		default:
			item, p, ok = scalar(b, p)
		}
		if !ok {
			return nil, p, false, false
		}
		if len(item) > 0 {
			if len(d.join) > start {
				d.join = append(d.join, ',')
			}
			d.join = append(d.join, item...)
		}
		p = space(b, p)
		c := at(b, p)
		p = space(b, p+1)
		switch c {
		case ']':
			if nested {
				return nil, p, true, true
			}
			return d.join[start:], p, false, true
		case ',':
		default:
			return nil, p, false, false
		}
	}
}

// skip checks and passes over an object or array.
func (d *Decoder) skip(b []byte, p, depth int) (int, bool) {
	if depth > maxDepth {
		return p, false
	}
	open := at(b, p)
	shut := byte('}')
	if open == '[' {
		shut = ']'
	}
	p = space(b, p+1)
	if at(b, p) == shut {
		return p + 1, true
	}
	for {
		var ok bool
		if open == '{' {
			if at(b, p) != '"' {
				return p, false
			}
			if _, p, ok = d.str(b, p); !ok {
				return p, false
			}
			if p = space(b, p); at(b, p) != ':' {
				return p, false
			}
			p = space(b, p+1)
		}
		switch at(b, p) {
		case '"':
			_, p, ok = d.str(b, p)
		case '[', '{':
			p, ok = d.skip(b, p, depth+1)
		default:
			_, p, ok = scalar(b, p)
		}
		if !ok {
			return p, false
		}
		p = space(b, p)
		c := at(b, p)
		if c == shut {
			return p + 1, true
		}
		if c != ',' {
			return p, false
		}
		p = space(b, p+1)
	}
}
