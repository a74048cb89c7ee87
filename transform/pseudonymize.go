package transform

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/bitutil"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/emmansun/gmsm/sm3"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// TokenLen is the length of a token in bytes.
const TokenLen = 32

// TokenKeys is the chain of token keys, oldest first. The first makes a token
// from the value, each later one makes the next token from the one before, so
// that the store can be re-keyed without a raw value: token_n = HMAC(K_n,
// "rot|" + token_(n-1)).
type TokenKeys struct {
	// Algorithm is sha256 or sm3 (GB/T 32905).
	Algorithm string
	Keys      [][]byte
}

// domain separates the kinds, so that equal texts of two kinds have two tokens.
func domain(kind feed.Kind) string {
	switch kind {
	case feed.ResidentID, feed.Subject:
		return "ric18|"
	case feed.PersonName:
		return "name|"
	case feed.Mobile:
		return "mobile|"
	case feed.Secret:
		return "cert|"
	}
	panic("BUG: no token for kind " + kind.String())
}

// Tokenizer makes tokens. It reuses its hash states and is not safe for
// concurrent use.
type Tokenizer struct{ chain []*keyed }

// NewTokenizer refuses an unknown algorithm and keys shorter than 32 bytes.
func NewTokenizer(k TokenKeys) (*Tokenizer, error) {
	algorithm := map[string]func() hash.Hash{"sha256": sha256.New, "sm3": sm3.New}[k.Algorithm]
	if algorithm == nil {
		return nil, fmt.Errorf("token algorithm %q is not known: use sha256 or sm3", k.Algorithm)
	}
	if len(k.Keys) == 0 {
		return nil, errors.New("no token key: give at least one key of 32 bytes")
	}
	t := &Tokenizer{}
	for i, key := range k.Keys {
		if len(key) < 32 {
			return nil, fmt.Errorf("token key %d has %d bytes: give at least 32", i+1, len(key))
		}
		t.chain = append(t.chain, newKeyed(algorithm, key))
	}
	return t, nil
}

// Token appends the 32-byte token of a value of the kind to dst.
func (t *Tokenizer) Token(dst []byte, kind feed.Kind, v string) []byte {
	dst = t.chain[0].sum(dst, domain(kind), bytesOf(v))
	for _, h := range t.chain[1:] {
		last := len(dst) - TokenLen
		dst = h.sum(dst[:last], "rot|", dst[last:])
	}
	return dst
}

// Pseudonymize turns direct identifiers into keyed tokens, birth dates into
// years, pay into bands. What it returns holds no raw value of a personal kind.
type Pseudonymize struct {
	tokens *Tokenizer
	mem    memory.Allocator
	bands  []payBand
	plans  map[*feed.Spec]*arrow.Schema
	token  []byte
}

// NewPseudonymize returns the step for one partition; it is not safe for
// concurrent use.
func NewPseudonymize(keys TokenKeys, cat *feed.Catalogue, mem memory.Allocator) (*Pseudonymize, error) {
	t, err := NewTokenizer(keys)
	if err != nil {
		return nil, err
	}
	bands, err := payBands(cat.List("pay_band"))
	if err != nil {
		return nil, err
	}
	if mem == nil {
		mem = memory.DefaultAllocator
	}
	return &Pseudonymize{tokens: t, mem: mem, bands: bands, plans: make(map[*feed.Spec]*arrow.Schema)}, nil
}

func (p *Pseudonymize) String() string { return "pseudonymize" }

// Apply implements flow.Step.
func (p *Pseudonymize) Apply(_ context.Context, in flow.Cut) (flow.Cut, error) {
	out := in
	out.Parts = make([]flow.Batch, len(in.Parts))
	for i, b := range in.Parts {
		out.Parts[i] = flow.Batch{Feed: b.Feed, Rows: p.batch(b)}
	}
	return out, nil
}

func (p *Pseudonymize) batch(b flow.Batch) arrow.Record {
	all := b.Feed.All()
	cols := make([]arrow.Array, 0, b.Rows.NumCols())
	fields := make([]arrow.Field, 0, b.Rows.NumCols())
	for i, c := range b.Feed.Columns() {
		if c.Field < 0 {
			break
		}
		col := b.Rows.Column(i)
		field := b.Rows.Schema().Field(i)
		if f := &all[c.Field]; f.Kind.Kind.Info().Personal && !c.Precision {
			col = p.column(f, col)
			field.Type = col.DataType()
		} else {
			col.Retain()
		}
		cols, fields = append(cols, col), append(fields, field)
	}
	for i := len(cols); i < int(b.Rows.NumCols()); i++ {
		col := b.Rows.Column(i)
		col.Retain()
		cols, fields = append(cols, col), append(fields, b.Rows.Schema().Field(i))
	}
	schema := p.plans[b.Feed]
	if schema == nil {
		schema = arrow.NewSchema(fields, nil)
		p.plans[b.Feed] = schema
	}
	rec := array.NewRecord(schema, cols, b.Rows.NumRows())
	for _, c := range cols {
		c.Release()
	}
	return rec
}

// column makes the stored column of a personal field.
func (p *Pseudonymize) column(f *feed.Field, col arrow.Array) arrow.Array {
	n := col.Len()
	kind := f.Kind.Kind
	switch kind {
	case feed.ResidentID, feed.PersonName, feed.Mobile, feed.Secret:
		return p.tokenColumn(kind, f.Required, col.(*array.String))
	case feed.Subject:
		in := col.(*array.String)
		b := array.NewStringBuilder(p.mem)
		defer b.Release()
		b.Reserve(n)
		for row := range n {
			v := in.Value(row)
			if v != "" && v[0] == personMark {
				p.token = p.tokens.Token(p.token[:0], kind, v[1:])
				v = hex.EncodeToString(p.token)
			}
			b.Append(v)
		}
		return b.NewArray()
	case feed.Birth:
		in := col.(*array.Date32)
		b := array.NewInt32Builder(p.mem)
		defer b.Release()
		b.Reserve(n)
		for row := range n {
			if in.IsNull(row) {
				b.UnsafeAppendBoolToBitmap(false)
				continue
			}
			b.UnsafeAppend(int32(time.Unix(int64(in.Value(row))*86400, 0).UTC().Year()))
		}
		return b.NewArray()
	case feed.Pay:
		in := col.(*array.Int64)
		b := array.NewStringBuilder(p.mem)
		defer b.Release()
		b.Reserve(n)
		for row := range n {
			if in.IsNull(row) {
				b.Append("")
				continue
			}
			b.Append(p.band(in.Value(row)))
		}
		return b.NewArray()
	}
	panic("BUG: no pseudonym for kind " + kind.String())
}

// tokenColumn makes the column of tokens: zeros under a null, or where a required
// field of a void has no value.
func (p *Pseudonymize) tokenColumn(kind feed.Kind, required bool, in *array.String) arrow.Array {
	n := in.Len()
	tokens := memory.NewBufferWithAllocator(flow.Room(p.mem, n*TokenLen), p.mem)
	defer tokens.Release()
	var valid *memory.Buffer
	nulls := 0
	for row := range n {
		out := tokens.Bytes()[row*TokenLen:][:0:TokenLen]
		if v := in.Value(row); v != "" {
			p.tokens.Token(out, kind, v)
			continue
		}
		clear(out[:TokenLen])
		if required {
			continue
		}
		if valid == nil {
			valid = memory.NewResizableBuffer(p.mem)
			defer valid.Release()
			valid.Resize(int(bitutil.BytesForBits(int64(n))))
			memory.Set(valid.Bytes(), 0xFF)
		}
		bitutil.ClearBit(valid.Bytes(), row)
		nulls++
	}
	data := array.NewData(flow.StoreType(feed.StoreToken), n, []*memory.Buffer{valid, tokens}, nil, nulls, 0)
	defer data.Release()
	return array.NewFixedSizeBinaryData(data)
}

// band finds the pay band of an amount in fen.
func (p *Pseudonymize) band(fen int64) string {
	code := ""
	for _, b := range p.bands {
		if fen >= b.from {
			code = b.code
		}
	}
	return code
}

// payBand is one row of the list pay_band: where it begins, in fen a month.
type payBand struct {
	from int64
	code string
}

// payBands reads the list's column from_fen; rows stand in rising order.
func payBands(l *feed.List) ([]payBand, error) {
	if l == nil {
		return nil, errors.New("the code list pay_band is missing")
	}
	out := make([]payBand, 0, len(l.Entries))
	for _, e := range l.Entries {
		from, err := strconv.ParseInt(e.Extra["from_fen"], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("code list pay_band, code %s: from_fen is not a whole number", e.Code)
		}
		out = append(out, payBand{from, e.Code})
	}
	return out, nil
}
