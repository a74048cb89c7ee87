package value

import "github.com/duiwu/duiwu/internal/feed"

// Bool reads a truth value: true, false, 1, 0, 是, 否, 有, 无, Y, N, yes, no, in
// any case and width, with white space around. Anything else is feed.Type.
func Bool(src []byte) (bool, feed.Rule) {
	switch string(src) {
	case "true", "1", "是":
		return true, feed.NoRule
	case "false", "0", "否":
		return false, feed.NoRule
	}
	var buf [8]byte
	n := 0
	for i := 0; i < len(src); {
		r, w, ok := next(src, i)
		if !ok {
			return false, feed.Type
		}
		r = fold(r)
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		if blank(r) {
			if n > 0 && len(trim(src[i:])) > 0 {
				return false, feed.Type
			}
			i += w
			continue
		}
		if r < 0x80 {
			w2 := n + 1
			if w2 > len(buf) {
				return false, feed.Type
			}
			buf[n] = byte(r)
			n = w2
		} else {
			if n+w > len(buf) {
				return false, feed.Type
			}
			n += copy(buf[n:], src[i:i+w])
		}
		i += w
	}
	switch string(buf[:n]) {
	case "true", "1", "是", "有", "y", "yes":
		return true, feed.NoRule
	case "false", "0", "否", "无", "無", "n", "no":
		return false, feed.NoRule
	}
	return false, feed.Type
}
