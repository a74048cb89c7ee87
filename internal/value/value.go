// Package value says how ONE value is read: it turns what people, spreadsheets
// and source systems write into the form that is compared, keyed and stored,
// and names the rule that a value breaks.
//
// All functions are pure, safe for concurrent use, never panic on any bytes,
// keep nothing of src and do not allocate when dst has room (Name is the one
// exception: text that is not NFC costs an allocation). dst and src must not
// overlap. Functions that append return dst with the value appended; when the
// rule is an error, dst comes back with its length unchanged.
//
// Repairs are never silent: every one is a bit of Notes. Nothing is guessed
// that the lists of the doc comments do not name.
//
// An empty value is not special here: identifiers, numbers and dates of no
// characters break their rule, texts come out empty. Whether a value may be
// absent is the field's affair, so ask before calling.
package value

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/duiwu/duiwu/internal/feed"
)

// Notes is the set of repairs made to a value and warnings about it.
type Notes uint16

const (
	// FullWidth: full-width forms became ASCII.
	FullWidth Notes = 1 << iota
	// Spaces: white space or invisible characters went out.
	Spaces
	// Case: letters became upper case.
	Case
	// Lookalike: a letter or sign of another script became the X that it looks like.
	Lookalike
	// Apostrophe: a spreadsheet's leading apostrophe went out.
	Apostrophe
	// Hyphens between groups went out.
	Hyphens
	// Prefix: a country prefix (+86, 0086) went out.
	Prefix
	// Dot: a dot between the parts of a name became U+00B7.
	Dot
	// Radical: a radical became the character that it stands for.
	Radical
	// Composed: the text became NFC.
	Composed

	// FifteenDigits warns: a 15-digit identity number was extended to 18.
	FifteenDigits
	// OrgCheck warns: the organisation code inside a credit code fails its own check.
	OrgCheck

	notesEnd
)

var noteNames = [...]string{
	"full_width", "spaces", "case", "lookalike", "apostrophe", "hyphens", "prefix",
	"dot", "radical", "composed", "fifteen_digits", "org_check",
}

// Warning returns the rule of severity Warning that the notes hold, or
// feed.NoRule. One value has at most one.
func (n Notes) Warning() feed.Rule {
	switch {
	case n&(FifteenDigits|OrgCheck) == 0:
		return feed.NoRule
	case n&FifteenDigits != 0:
		return feed.RICFifteenDigits
	}
	return feed.USCCOrgChecksum
}

// String lists the notes by name, for tests and receipts.
func (n Notes) String() string {
	var b strings.Builder
	for i, name := range noteNames {
		if n&(1<<i) == 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(name)
	}
	return b.String()
}

// fold turns the full-width forms of ASCII (U+FF01 to U+FF5E) into ASCII.
func fold(r rune) rune {
	if r >= 0xFF01 && r <= 0xFF5E {
		return r - 0xFEE0
	}
	return r
}

// invisible says that a rune takes no width and carries no meaning in the texts
// of this project: zero-width spaces and joiners, direction marks, byte-order
// marks, soft hyphens. Variation selectors are not among them, since they tell
// characters of names apart.
func invisible(r rune) bool {
	switch {
	case r < 0x200B:
		return r == 0xAD || r == 0x180E
	case r <= 0x200F, r >= 0x202A && r <= 0x202E, r >= 0x2060 && r <= 0x2064, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return r == 0xFEFF
}

func space(r rune) bool { return unicode.IsSpace(r) }

// next decodes the rune at i; ok is false at a byte that is not UTF-8.
func next(src []byte, i int) (r rune, size int, ok bool) {
	if c := src[i]; c < utf8.RuneSelf {
		return rune(c), 1, true
	}
	r, size = utf8.DecodeRune(src[i:])
	return r, size, r != utf8.RuneError || size == 3
}
