package sheet

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/value"
)

// xlsxSource reads a workbook's sheets one after another, visible ones first. It
// reads the parts itself: a library's row iterator gives text as shown and drops
// what a clerk's table is judged by (types, hidden rows, formulas, 1904).
type xlsxSource struct {
	parts    map[string]*zip.File
	sheets   []workSheet
	shared   sharedText
	styles   []style
	date1904 bool

	at        int // sheet being read, from 0
	x         *xmlReader
	part      io.ReadCloser
	line      int
	cells     []cell
	buf, fbuf []byte
	formulas  int
}

type workSheet struct {
	name, part string
	hidden     bool
}

type styleKind uint8

const (
	generalStyle styleKind = iota
	dateStyle
	monthStyle
	dateTimeStyle
	timeStyle
)

type style struct {
	kind styleKind
	// pad is the width of a format of zeros only (0000), 0 for others.
	pad int8
}

func openXLSX(in input, size int64) (source, error) {
	z, err := zip.NewReader(in, size)
	if err != nil {
		return nil, &Unusable{Zh: "文件打不开：不是完整的 XLSX（可能下载或复制中断）。", En: "The file is no complete XLSX (a download or copy may have been cut short).", Err: err}
	}
	s := &xlsxSource{parts: make(map[string]*zip.File, len(z.File)), at: -1}
	if len(z.File) > 10_000 {
		return nil, unusable("压缩包内的部件过多，不是普通工作簿。", "The archive holds too many parts for a workbook.")
	}
	var packed uint64
	for _, f := range z.File {
		name := strings.ReplaceAll(f.Name, `\`, "/")
		if strings.HasPrefix(name, "/") || strings.Contains("/"+name+"/", "/../") || len(name) > 1 && name[1] == ':' || strings.ContainsRune(name, 0) {
			return nil, unusable("压缩包内有指向包外的路径，已拒绝。", "The archive has a part whose path leads out of it; it was refused.")
		}
		if f.Flags&1 != 0 {
			return nil, unusable("压缩包已加密，请先去掉密码。", "The archive is encrypted; remove the password first.")
		}
		key := strings.ToLower(name)
		if _, twice := s.parts[key]; twice {
			return nil, unusable("压缩包内有重名部件，已拒绝。", "The archive has two parts of one name; it was refused.")
		}
		if f.UncompressedSize64 > maxPart || f.UncompressedSize64 > minRatioSize && f.UncompressedSize64/maxRatio > f.CompressedSize64 {
			return nil, bomb()
		}
		packed += f.CompressedSize64
		s.parts[key] = f
	}
	if packed > uint64(size) {
		// Parts that share bytes are how a small file becomes a huge one.
		return nil, bomb()
	}
	switch {
	case s.parts["content.xml"] != nil:
		return nil, unusable("这是 ODS 文件，请另存为 XLSX 或 CSV。", "This is an ODS file; save it as XLSX or CSV.")
	case s.parts["xl/workbook.bin"] != nil:
		return nil, unusable("这是二进制工作簿 .xlsb，请另存为 .xlsx。", "This is a binary workbook (.xlsb); save it as .xlsx.")
	case s.parts["word/document.xml"] != nil:
		return nil, unusable("这是 Word 文档，请把表格复制到电子表格后另存为 XLSX。", "This is a Word document; copy the table to a spreadsheet and save it as XLSX.")
	}
	if err := s.workbook(); err != nil {
		return nil, s.trouble(err, "")
	}
	return s, nil
}

func bomb() error {
	return unusable("压缩包展开后过大（压缩炸弹），已拒绝。", "The archive unpacks to far more than a table can hold (a zip bomb); it was refused.")
}

// trouble turns what went wrong inside a part into a sentence for people.
func (s *xlsxSource) trouble(err error, part string) error {
	var u *Unusable
	switch {
	case errors.As(err, &u):
		return err
	case errors.Is(err, errDoctype):
		return unusable("工作簿内含 DOCTYPE（实体炸弹的写法），已拒绝。", "The workbook holds a DOCTYPE, which is how entity bombs are written; it was refused.")
	case errors.Is(err, errXMLText):
		return unusable(fmt.Sprintf("工作簿里有超过 %d KB 的文字，不可能是表格数据，整份文件未读。", MaxCell>>10),
			fmt.Sprintf("The workbook has a text of more than %d KB, which no table does; the file was not read.", MaxCell>>10))
	case errors.Is(err, errTooMuch):
		return bomb()
	}
	where := ""
	if part != "" {
		where = "（" + part + "）"
	}
	return &Unusable{Zh: "工作簿已损坏" + where + "，请重新保存后再试。", En: "The workbook is damaged; save it again and retry.", Err: err}
}

var errTooMuch = errors.New("part is larger than it says")

// bounded holds a part to the size that its directory entry declares.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n, errTooMuch
	}
	return n, err
}

func (s *xlsxSource) open(name string) (io.ReadCloser, error) {
	f := s.parts[strings.ToLower(name)]
	if f == nil {
		return nil, fmt.Errorf("part %s is missing", path.Base(name))
	}
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	return &bounded{r, int64(f.UncompressedSize64)}, nil
}

// walk calls fn at the start of every element of a part.
func (s *xlsxSource) walk(name string, fn func(*xmlReader) error) error {
	r, err := s.open(name)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // it was only read
	if head, err := utf16Part(r); err != nil {
		return err
	} else {
		x := newXML(head)
		for {
			tok, err := x.next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if tok == xmlStart {
				if err := fn(x); err != nil {
					return err
				}
			}
		}
	}
}

// utf16Part skips a byte order mark and refuses parts in UTF-16, which no
// spreadsheet of these years writes.
func utf16Part(r io.Reader) (io.Reader, error) {
	var head [3]byte
	n, err := io.ReadFull(r, head[:])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n >= 2 && (head[0] == 0xFF && head[1] == 0xFE || head[0] == 0xFE && head[1] == 0xFF || head[1] == 0) {
		return nil, unusable("工作簿内部用了 UTF-16 编码，请用电子表格重新另存。", "The workbook is written in UTF-16 inside; save it again with a spreadsheet.")
	}
	if string(head[:n]) == "\xEF\xBB\xBF" {
		return r, nil
	}
	return io.MultiReader(bytes.NewReader(head[:n]), r), nil
}

type relation struct{ kind, target string }

func (s *xlsxSource) relations(of string) (map[string]relation, error) {
	out := map[string]relation{}
	dir, base := path.Split(of)
	err := s.walk(dir+"_rels/"+base+".rels", func(x *xmlReader) error {
		if string(x.name) != "Relationship" || strings.EqualFold(x.value("TargetMode"), "External") {
			return nil
		}
		t := strings.ReplaceAll(x.value("Target"), `\`, "/")
		if strings.HasPrefix(t, "/") {
			t = strings.TrimPrefix(path.Clean(t), "/")
		} else {
			t = path.Join(dir, t)
		}
		kind := x.value("Type")
		out[x.value("Id")] = relation{kind[strings.LastIndexByte(kind, '/')+1:], t}
		return nil
	})
	return out, err
}

func (s *xlsxSource) workbook() error {
	book := "xl/workbook.xml"
	if rels, err := s.relations(""); err == nil {
		for _, r := range rels {
			if r.kind == "officeDocument" {
				book = r.target
			}
		}
	}
	if s.parts[strings.ToLower(book)] == nil {
		return unusable("这个压缩包不是工作簿。", "This archive is no workbook.")
	}
	rels, err := s.relations(book)
	if err != nil {
		return err
	}
	var hidden []workSheet
	err = s.walk(book, func(x *xmlReader) error {
		switch string(x.name) {
		case "workbookPr":
			s.date1904 = truth(x.value("date1904"))
		case "sheet":
			r, ok := rels[x.value("id")]
			if !ok || r.kind != "worksheet" {
				return nil // a chart sheet, a macro sheet
			}
			w := workSheet{name: x.value("name"), part: r.target}
			if st := x.value("state"); st == "hidden" || st == "veryHidden" {
				w.hidden = true
				hidden = append(hidden, w)
			} else {
				s.sheets = append(s.sheets, w)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.sheets = append(s.sheets, hidden...)
	if len(s.sheets) == 0 {
		return unusable("工作簿里没有工作表。", "The workbook has no worksheet.")
	}
	for _, r := range rels {
		switch r.kind {
		case "sharedStrings":
			if s.parts[strings.ToLower(r.target)] == nil {
				continue
			}
			if err := s.readShared(r.target); err != nil {
				return err
			}
		case "styles":
			if s.parts[strings.ToLower(r.target)] == nil {
				continue
			}
			if err := s.readStyles(r.target); err != nil {
				return err
			}
		}
	}
	return nil
}

func truth(v string) bool { return v == "1" || v == "true" || v == "on" }

// sharedText is the workbook's text table: chunks that are never moved.
type sharedText struct {
	chunks [][]byte
	// at holds, for each text, its chunk (12 bits), its place in the chunk (20
	// bits), and its length in bytes (32 bits).
	at   []uint64
	size int
}

const chunkSize = 1 << 20

func (t *sharedText) add(b []byte) error {
	if t.size += len(b) + 8; t.size > maxShared {
		return unusable("工作簿的文字总量过大，请拆成几个文件或另存为 CSV。", "The workbook holds too much text to be read at once; split it or save it as CSV.")
	}
	last := len(t.chunks) - 1
	if last < 0 || len(t.chunks[last])+len(b) >= chunkSize {
		t.chunks = append(t.chunks, make([]byte, 0, chunkSize))
		last++
	}
	t.at = append(t.at, uint64(last)<<52|uint64(len(t.chunks[last]))<<32|uint64(len(b)))
	t.chunks[last] = append(t.chunks[last], b...)
	return nil
}

func (t *sharedText) text(i int) (string, bool) {
	if i < 0 || i >= len(t.at) {
		return "", false
	}
	a := t.at[i]
	c := t.chunks[a>>52]
	from := int(a >> 32 & (1<<20 - 1))
	return string(c[from : from+int(a&(1<<32-1))]), true
}

func (s *xlsxSource) readShared(part string) error {
	return s.walk(part, func(x *xmlReader) error {
		if string(x.name) != "si" {
			return nil
		}
		var err error
		if s.buf, err = x.content(s.buf[:0], "rPh"); err != nil {
			return err
		}
		return s.shared.add(unmask(s.buf))
	})
}

// unmask undoes _xHHHH_, by which workbooks write control characters.
func unmask(b []byte) []byte {
	if !bytes.Contains(b, []byte("_x")) {
		return b
	}
	out := b[:0:0]
	for i := 0; i < len(b); {
		if b[i] == '_' && i+6 < len(b) && b[i+1] == 'x' && b[i+6] == '_' {
			if n, err := strconv.ParseUint(string(b[i+2:i+6]), 16, 16); err == nil {
				out = utf8.AppendRune(out, rune(n))
				i += 7
				continue
			}
		}
		out = append(out, b[i])
		i++
	}
	return out
}

func (s *xlsxSource) readStyles(part string) error {
	formats := map[string]string{}
	inCells := false
	return s.walk(part, func(x *xmlReader) error {
		switch string(x.name) {
		case "numFmt":
			formats[x.value("numFmtId")] = x.value("formatCode")
		case "cellXfs":
			inCells = true
		case "cellStyles", "dxfs", "cellStyleXfs":
			inCells = false
		case "xf":
			if inCells && len(s.styles) < 1<<16 {
				id := x.value("numFmtId")
				s.styles = append(s.styles, styleOf(id, formats[id]))
			}
		}
		return nil
	})
}

// styleOf reads a number format (ECMA-376 part 1, 18.8.30 and .31; 27 to 36 and
// 50 to 58 are those of Chinese spreadsheets).
func styleOf(id, code string) style {
	if code == "" {
		switch n, _ := strconv.Atoi(id); {
		case n == 27 || n == 36 || n == 50 || n == 52 || n == 57:
			return style{kind: monthStyle}
		case n >= 14 && n <= 16, n >= 28 && n <= 31, n == 51, n >= 53 && n <= 54, n == 58:
			return style{kind: dateStyle}
		case n == 17:
			return style{kind: monthStyle}
		case n == 22:
			return style{kind: dateTimeStyle}
		case n >= 18 && n <= 21, n >= 32 && n <= 35, n >= 45 && n <= 47, n >= 55 && n <= 56:
			return style{kind: timeStyle}
		}
		return style{}
	}
	if strings.EqualFold(code, "General") || strings.Contains(code, "General") {
		return style{}
	}
	if len(code) <= 20 && strings.Trim(code, "0") == "" {
		return style{pad: int8(len(code))}
	}
	var y, m, d, h, other bool
	for i := 0; i < len(code); i++ {
		switch c := code[i]; c {
		case ';':
			i = len(code)
		case '"':
			if j := strings.IndexByte(code[i+1:], '"'); j >= 0 {
				i += j + 1
			}
		case '\\', '_', '*':
			i++
		case '[':
			if j := strings.IndexByte(code[i:], ']'); j >= 0 {
				if in := strings.ToLower(code[i+1 : i+j]); in != "" && strings.Trim(in, "hms") == "" {
					h = true
				}
				i += j
			}
		case 'y', 'Y', 'e':
			y = true
		case 'E':
			other = true
		case 'm', 'M':
			m = true
		case 'd', 'D':
			d = true
		case 'h', 'H', 's', 'S':
			h = true
		case '0', '#', '?', '%':
			other = other || !h && !y
		}
	}
	switch {
	case other && !y && !d:
		return style{}
	case (y || d) && h:
		return style{kind: dateTimeStyle}
	case h:
		return style{kind: timeStyle}
	case y && m && !d:
		return style{kind: monthStyle}
	case y || d || m:
		return style{kind: dateStyle}
	}
	return style{}
}

func (s *xlsxSource) named() bool     { return false }
func (s *xlsxSource) names() []string { return nil }

func (s *xlsxSource) close() error {
	if s.part != nil {
		_ = s.part.Close() // it was only read
		s.part = nil
	}
	return nil
}

func (s *xlsxSource) next(r *row) error {
	for {
		if s.x == nil {
			if s.at++; s.at >= len(s.sheets) {
				return io.EOF
			}
			w := &s.sheets[s.at]
			part, err := s.open(w.part)
			if err != nil {
				return s.trouble(err, w.name)
			}
			s.part, s.line = part, 0
			head, err := utf16Part(part)
			if err != nil {
				return s.trouble(err, w.name)
			}
			s.x = newXML(head)
		}
		ok, err := s.row(r)
		if err != nil {
			return s.trouble(err, s.sheets[s.at].name)
		}
		if ok {
			return nil
		}
		_ = s.part.Close() // it was only read
		s.x, s.part = nil, nil
	}
}

// skip leaves out what is left of the sheet at hand.
func (s *xlsxSource) skip() {
	_ = s.close() // it was only read
	s.x = nil
}

// row reads the next row of the sheet at hand; false at its end.
func (s *xlsxSource) row(r *row) (bool, error) {
	for {
		tok, err := s.x.next()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if tok != xmlStart || string(s.x.name) != "row" {
			continue
		}
		s.line++
		hidden := false
		bad := false
		s.x.attr(func(name, v []byte) bool {
			switch string(name) {
			case "r":
				n, err := strconv.Atoi(string(v))
				if err != nil || n < 1 || n > 1<<21 {
					bad = true
				} else {
					s.line = n
				}
			case "hidden":
				hidden = truth(string(v))
			}
			return true
		})
		if bad {
			return false, errXML
		}
		if err := s.rowCells(); err != nil {
			if errors.Is(err, errXMLText) {
				return false, cellTooLong(s.sheets[s.at].name, s.line, len(s.cells))
			}
			return false, err
		}
		if len(s.cells) == 0 {
			continue
		}
		r.table, r.sheet, r.line, r.hidden, r.cells = s.at, s.sheets[s.at].name, s.line, hidden, s.cells
		return true, nil
	}
}

// rowCells reads the cells of the row whose start was just read.
func (s *xlsxSource) rowCells() error {
	s.cells = s.cells[:0]
	depth, column := s.x.depth, -1
	for {
		tok, err := s.x.next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errXML
			}
			return err
		}
		switch {
		case tok == xmlEnd && s.x.depth < depth:
			return nil
		case tok != xmlStart || string(s.x.name) != "c":
			continue
		}
		column++
		var kind [12]byte
		kindLen, styleID, bad := 0, 0, false
		s.x.attr(func(name, v []byte) bool {
			switch string(name) {
			case "r":
				c, ok := columnOf(v)
				if !ok {
					bad = true
				}
				column = c
			case "t":
				kindLen = copy(kind[:], v)
			case "s":
				styleID, _ = strconv.Atoi(string(v))
			}
			return true
		})
		if bad || column >= MaxColumns {
			return errXML
		}
		c, ok, err := s.cell(string(kind[:kindLen]), styleID)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		for len(s.cells) <= column {
			s.cells = append(s.cells, cell{})
		}
		s.cells[column] = c
	}
}

// columnOf reads the letters of a cell's reference.
func columnOf(ref []byte) (int, bool) {
	n := 0
	for _, c := range ref {
		if c >= 'a' && c <= 'z' {
			c -= 32
		}
		if c < 'A' || c > 'Z' {
			break
		}
		if n = n*26 + int(c-'A'+1); n > MaxColumns {
			return 0, false
		}
	}
	return n - 1, n > 0
}

// cell reads the cell whose start was just read; false when it is empty.
func (s *xlsxSource) cell(kind string, styleID int) (cell, bool, error) {
	depth := s.x.depth
	s.buf, s.fbuf = s.buf[:0], s.fbuf[:0]
	haveFormula := false
	for {
		tok, err := s.x.next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errXML
			}
			return cell{}, false, err
		}
		if tok == xmlEnd && s.x.depth < depth {
			break
		}
		if tok != xmlStart {
			continue
		}
		switch string(s.x.name) {
		case "v":
			if s.buf, err = s.x.content(s.buf[:0], ""); err != nil {
				return cell{}, false, err
			}
		case "is":
			if s.buf, err = s.x.content(s.buf[:0], "rPh"); err != nil {
				return cell{}, false, err
			}
			s.buf = unmask(s.buf)
		case "f":
			haveFormula = true
			if s.fbuf, err = s.x.content(s.fbuf, ""); err != nil {
				return cell{}, false, err
			}
		}
	}
	c := cell{}
	if haveFormula {
		s.formulas++
		c.form = cachedFormula
		if len(s.buf) == 0 || reachesOut(s.fbuf) {
			c.form = bareFormula
		}
	}
	if len(s.buf) == 0 {
		return c, haveFormula, nil
	}
	switch kind {
	case "s":
		i, err := strconv.Atoi(string(bytes.TrimSpace(s.buf)))
		t, ok := s.shared.text(i)
		if err != nil || !ok {
			return c, false, errXML
		}
		c.text = validText(t)
	case "inlineStr":
		c.text = validText(string(s.buf))
	case "str":
		c.text = validText(string(unmask(s.buf)))
	case "b":
		c.kind, c.text = boolCell, "false"
		if truth(string(bytes.TrimSpace(s.buf))) {
			c.text = "true"
		}
	case "e":
		c.kind, c.text = errorCell, "#"
	case "d":
		c.text = validText(string(s.buf)) // an ISO 8601 date
	default:
		c.kind, c.text = numberCell, validText(string(bytes.TrimSpace(s.buf)))
		if styleID >= 0 && styleID < len(s.styles) {
			c.style, c.pad = s.styles[styleID].kind, s.styles[styleID].pad
		}
	}
	if c.kind == textCell && c.form == noFormula {
		c.form = plainFormula([]byte(c.text[:min(len(c.text), 256)]), false)
	}
	return c, c.text != "" || haveFormula, nil
}

// reachesOut says that a formula asks for something outside of the workbook.
func reachesOut(f []byte) bool {
	if bytes.IndexByte(f, '|') >= 0 {
		return true // DDE
	}
	if i := bytes.IndexByte(f, '['); i >= 0 && i+1 < len(f) && f[i+1] >= '0' && f[i+1] <= '9' {
		return true // [1]Sheet1!A1
	}
	up := strings.ToUpper(string(f))
	return slices.ContainsFunc([]string{"HYPERLINK(", "WEBSERVICE(", "FILTERXML(", "RTD(", "CALL(", "REGISTER", "IMPORTDATA(", "EXEC("}, func(w string) bool {
		return strings.Contains(up, w)
	})
}

// numberText writes a number cell for a field of a kind: as the date that the
// cell shows, or as the shortest decimal. ambiguous says that the cell may mean
// two dates (2016.1 is January, or October with its zero gone).
func numberText(c *cell, f *feed.Field, date1904 bool) (out string, ambiguous bool) {
	v, err := strconv.ParseFloat(c.text, 64)
	if err != nil || v != v || v > 1e300 || v < -1e300 {
		return c.text, false
	}
	dated := f.Kind.Kind == feed.Date || f.Kind.Kind == feed.Birth || f.Kind.Kind == feed.Period || f.Kind.Kind == feed.Time
	// A bare serial has five digits from 1927 on; six or eight are 201611 and 20161111.
	bareSerial := dated && c.style == generalStyle && c.pad == 0 && date1904 && v >= 8000 && v < 100_000
	if c.style == dateStyle || c.style == monthStyle || c.style == dateTimeStyle || bareSerial {
		if v >= 0 && v < 200_000 {
			whole := int64(v)
			if day, rule := value.Serial(whole, date1904); rule == feed.NoRule {
				d := time.Unix(int64(day)*86400, 0).UTC()
				seconds := int64((v-float64(whole))*86400 + 0.5)
				switch {
				case c.style == monthStyle && f.Partial:
					return d.Format("2006-01"), false
				case seconds > 0 && seconds < 86400 || c.style == dateTimeStyle:
					return d.Add(time.Duration(seconds) * time.Second).Format("2006-01-02T15:04:05"), false
				}
				return d.Format(time.DateOnly), false
			}
		}
	}
	if dated && v > 1900 && v < 2100 && v != float64(int64(v)) {
		s := strconv.FormatFloat(v, 'f', -1, 64)
		if dot := strings.IndexByte(s, '.'); len(s)-dot == 2 {
			return s, true
		}
	}
	switch f.Kind.Kind {
	case feed.ResidentID, feed.Subject, feed.CreditCode, feed.Key, feed.Secret, feed.Mobile, feed.Text:
		// What the file says is kept to the letter where a digit more or less
		// matters; digits beyond the 15th were made up by the spreadsheet, and
		// the identity number's own rules say so.
		if strings.ContainsAny(c.text, "eE") {
			if v < 1e15 && v > -1e15 {
				return pad(strconv.FormatFloat(v, 'f', -1, 64), c.pad), false
			}
			return c.text, false
		}
		if whole, ok := strings.CutSuffix(c.text, ".0"); ok {
			return pad(whole, c.pad), false
		}
		return pad(c.text, c.pad), false
	}
	// Spreadsheets show and mean 15 digits: 0.1+0.2 is 0.3.
	if r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 15, 64), 64); err == nil {
		v = r
	}
	return pad(strconv.FormatFloat(v, 'f', -1, 64), c.pad), false
}

func pad(s string, width int8) string {
	if n := int(width) - len(s); n > 0 && !strings.HasPrefix(s, "-") {
		return strings.Repeat("0", n) + s
	}
	return s
}
