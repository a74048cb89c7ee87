package sheet

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// text is a file of text, decoded as it is read.
type text struct {
	*bufio.Reader
	encoding string
}

// openText learns a text's encoding by looking through all of it: by its mark,
// else UTF-8 when its characters are, else GB18030. A text that is UTF-8 but for
// a few bytes stays UTF-8, and the bytes become U+FFFD, which damaged_text names.
func openText(in input, size int64) (*text, error) {
	head := make([]byte, min(size, 4))
	if _, err := in.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("cannot read the file: %w", err)
	}
	all := func(skip int64) io.Reader { return io.NewSectionReader(in, skip, size-skip) }
	decoded := func(name string, r io.Reader) *text {
		return &text{Reader: bufio.NewReaderSize(r, 256<<10), encoding: name}
	}
	switch {
	case bytes.HasPrefix(head, []byte("\xFF\xFE\x00\x00")), bytes.HasPrefix(head, []byte("\x00\x00\xFE\xFF")):
		return nil, unusable("文件是 UTF-32 编码，请另存为 UTF-8。", "The file is written in UTF-32; save it as UTF-8.")
	case bytes.HasPrefix(head, []byte("\xEF\xBB\xBF")):
		return decoded("utf-8", all(3)), nil
	case bytes.HasPrefix(head, []byte("\xFF\xFE")):
		return decoded("utf-16", transform.NewReader(all(2), unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewDecoder())), nil
	case bytes.HasPrefix(head, []byte("\xFE\xFF")):
		return decoded("utf-16", transform.NewReader(all(2), unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM).NewDecoder())), nil
	case bytes.HasPrefix(head, []byte("\x84\x31\x95\x33")):
		return decoded("gb18030", transform.NewReader(all(4), simplifiedchinese.GB18030.NewDecoder())), nil
	}
	good, bad, zero, err := survey(all(0))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read the file: %w", err)
	case zero > 0:
		return nil, unusable("这不是文本，也不是认识的表格格式；若是没有标记的 UTF-16 文本，请另存为 UTF-8。", "This is neither text nor a table format that is known; if it is UTF-16 without a mark, save it as UTF-8.")
	case bad == 0 || good > 3*bad: // GB18030 read as UTF-8 is nearly all bad
		return decoded("utf-8", all(0)), nil
	}
	return decoded("gb18030", transform.NewReader(all(0), simplifiedchinese.GB18030.NewDecoder())), nil
}

// survey counts the characters beyond ASCII, the bytes that are no UTF-8, and
// the zero bytes.
func survey(r io.Reader) (good, bad, zero int64, err error) {
	buf := make([]byte, 256<<10)
	kept := 0
	for {
		n, err := io.ReadFull(r, buf[kept:])
		last := err != nil
		if last && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, 0, 0, err
		}
		b := buf[:kept+n]
		i := 0
		for i < len(b) {
			if c := b[i]; c < utf8.RuneSelf {
				if c == 0 {
					zero++
				}
				i++
				continue
			}
			if !last && len(b)-i < utf8.UTFMax && !utf8.FullRune(b[i:]) {
				break
			}
			c, w := utf8.DecodeRune(b[i:])
			if c == utf8.RuneError && w == 1 {
				bad++
			} else {
				good++
			}
			i += w
		}
		if last {
			return good, bad, zero, nil
		}
		kept = copy(buf, b[i:])
	}
}

// peek returns the first byte that is no white space, 0 when there is none.
func (t *text) peek() (byte, error) {
	for n := 1; n <= 64<<10; n++ {
		b, err := t.Peek(n)
		if len(b) < n {
			if errors.Is(err, io.EOF) {
				return 0, nil
			}
			return 0, fmt.Errorf("cannot read the file: %w", err)
		}
		switch c := b[n-1]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c, nil
		}
	}
	return 0, nil
}
