// Package sheet reads the files of people: CSV (UTF-8, GB18030, UTF-16), XLSX,
// JSON, NDJSON, Arrow IPC and Parquet, and judges them with the steps that the
// worker uses.
//
//	Open -> source of rows -> header -> wire batches -> flow.Step -> Report
//
// A file is read once from its beginning to its end (text files are looked
// through before, to learn their encoding); nothing is held but the batch at
// hand, the text table of a workbook, 16 bytes a row to find duplicates, and
// the findings. Everything has a bound, and what lies beyond it is refused with
// a sentence for people: see Unusable.
package sheet

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"
)

// The bounds of a file.
const (
	// MaxCell is the longest text of one cell, in bytes. A spreadsheet holds
	// 32,767 characters at most.
	MaxCell = 256 << 10
	// MaxColumns is the widest table: that of a spreadsheet.
	MaxColumns = 16384
	// maxRecord bounds one JSON object and one row of text.
	maxRecord = 4 << 20
	// maxPart bounds one part of a workbook once unpacked, maxRatio what a part
	// beyond minRatioSize may be packed to.
	maxPart      = 6 << 30
	maxRatio     = 400
	minRatioSize = 64 << 20
	// maxShared bounds the text table of a workbook in memory.
	maxShared = 192 << 20
	// maxColumnar bounds the live memory of one Arrow or Parquet batch.
	maxColumnar = 256 << 20
)

// Unusable says why a file cannot be read as a table at all. Nothing of it was
// accepted.
type Unusable struct {
	Zh, En string
	// Err is the machine's own word, if any; it never holds a value.
	Err error
}

func (u *Unusable) Error() string { return u.Zh + " " + u.En }

func (u *Unusable) Unwrap() error { return u.Err }

func unusable(zh, en string) error { return &Unusable{Zh: zh, En: en} }

// Format is how a file is written.
type Format string

// The formats that are read.
const (
	CSV     Format = "csv"
	XLSX    Format = "xlsx"
	JSON    Format = "json"
	Arrow   Format = "arrow"
	Parquet Format = "parquet"
)

// cell is one cell of a row. Text is what a person sees in it, as far as the
// format can say.
type cell struct {
	text string
	kind cellKind
	// style is the number format of a number cell, form what a formula does.
	style styleKind
	pad   int8
	form  formula
}

type cellKind uint8

const (
	textCell cellKind = iota
	numberCell
	boolCell
	errorCell
	// nestedCell is a JSON object or a column of a type with no text form.
	nestedCell
	// twiceCell is a JSON key that stands twice in one object.
	twiceCell
)

type formula uint8

const (
	noFormula formula = iota
	// cachedFormula has the value that the spreadsheet last computed.
	cachedFormula
	// bareFormula has none, or reaches outside of the workbook.
	bareFormula
)

// row is one row of a table; it is valid until the next one is asked for.
type row struct {
	// table counts the tables of a file from 0; sheet is its name in a workbook.
	table int
	sheet string
	// line is the row's number as people see it, from 1.
	line   int
	hidden bool
	cells  []cell
}

// source yields the rows of a file in order, io.EOF at its end. Errors are
// *Unusable or about the machine.
type source interface {
	next(*row) error
	// named says that every column has a name of its own (JSON, Arrow, Parquet):
	// there is no header row to find, names returns them.
	named() bool
	names() []string
	close() error
}

// File is an opened file.
type File struct {
	Path   string
	Format Format
	Size   int64
	// Date is when the file was last changed.
	Date time.Time

	f        *os.File
	src      source
	encoding string
	date1904 bool
}

// Open looks at a file's first bytes, never at its name, to learn its format.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", filepath.Base(path), errors.Unwrap(err))
	}
	file := &File{Path: path, f: f}
	if err := file.open(); err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return file, nil
}

func (f *File) open() error {
	info, err := f.f.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() || !info.Mode().IsRegular() {
		return unusable("这不是文件，请给出一个数据文件。", "This is no regular file; name a data file.")
	}
	f.Size, f.Date = info.Size(), info.ModTime()
	if f.Size == 0 {
		return unusable("文件是空的。", "The file is empty.")
	}
	f.src, f.Format, err = openSource(f.f, f.Size)
	return err
}

// Close ends the reading.
func (f *File) Close() error {
	err := f.src.close()
	return errors.Join(err, f.f.Close())
}

// input is what a reader needs of a file.
type input interface {
	io.ReaderAt
}

func openSource(in input, size int64) (source, Format, error) {
	head := make([]byte, min(size, 4096))
	if _, err := in.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, "", fmt.Errorf("cannot read the file: %w", err)
	}
	starts := func(magic string) bool { return strings.HasPrefix(string(head), magic) }
	switch {
	case starts("PK\x03\x04"), starts("PK\x05\x06"):
		s, err := openXLSX(in, size)
		return s, XLSX, err
	case starts("\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"):
		return nil, "", compound(in, size)
	case starts("PAR1"):
		s, err := openParquet(in, size)
		return s, Parquet, err
	case starts("PARE"):
		return nil, "", unusable("文件已加密，请先解密再检查。", "The file is encrypted; decrypt it first.")
	case starts("ARROW1\x00\x00"), starts("\xFF\xFF\xFF\xFF"):
		s, err := openArrow(in, size)
		return s, Arrow, err
	case starts("%PDF"), starts("{\\rtf"), starts("\x89PNG"), starts("\xFF\xD8\xFF"), starts("GIF8"):
		return nil, "", unusable("这是文档或图片，不是数据表，请导出为 XLSX 或 CSV。", "This is a document or a picture, no table; export it as XLSX or CSV.")
	case starts("\x1F\x8B"), starts("\x28\xB5\x2F\xFD"), starts("Rar!"), starts("7z\xBC\xAF"), starts("BZh"), starts("\xFD7zXZ"):
		return nil, "", unusable("这是压缩包，请先解压。", "This is a compressed archive; unpack it first.")
	}
	if starts("MIME-Version:") {
		return nil, "", webPage()
	}
	text, err := openText(in, size)
	if err != nil {
		return nil, "", err
	}
	first, err := text.peek()
	if err != nil {
		return nil, "", err
	}
	switch {
	case first == '{' || first == '[':
		return newJSON(text), JSON, nil
	case first == '<':
		return nil, "", webPage()
	case first == 0:
		return nil, "", unusable("文件里没有内容。", "There is nothing in the file but white space.")
	}
	s, err := newCSV(text)
	return s, CSV, err
}

func webPage() error {
	return unusable("这是网页或 XML（有些系统导出的“.xls”其实是网页），请用电子表格打开后另存为 XLSX。", "This is HTML or XML (some systems export a web page under the name .xls); open it in a spreadsheet and save it as XLSX.")
}

// compound names what an OLE file is: a workbook of before 2007 or an encrypted one.
func compound(in input, size int64) error {
	buf := make([]byte, min(size, 1<<20))
	n, err := in.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("cannot read the file: %w", err)
	}
	if strings.Contains(string(buf[:n]), utf16le("EncryptedPackage")) {
		return unusable("工作簿有打开密码，无法读取；请在电子表格中去掉密码后另存。", "The workbook is encrypted with a password; remove the password and save it again.")
	}
	return unusable("这是旧版 .xls 文件，请另存为 .xlsx。", "This is an .xls file of before 2007; save it as .xlsx.")
}

func utf16le(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		b.WriteByte(c)
		b.WriteByte(0)
	}
	return b.String()
}

// ColumnName writes a column's position, from 0, as a spreadsheet does.
func ColumnName(i int) string {
	var b [8]byte
	n := len(b)
	for i++; i > 0; i = (i - 1) / 26 {
		n--
		b[n] = byte('A' + (i-1)%26)
	}
	return string(b[n:])
}

// cellTooLong refuses a file for one cell.
func cellTooLong(sheet string, line, column int) error {
	where := fmt.Sprintf("%s%d", ColumnName(column), line)
	if sheet != "" && len(sheet) <= 64 {
		where = sheet + "!" + where
	}
	return unusable(
		fmt.Sprintf("单元格 %s 的内容超过 %d KB，不可能是表格数据，整份文件未读。", where, MaxCell>>10),
		fmt.Sprintf("Cell %s holds more than %d KB, which no table does; the file was not read.", where, MaxCell>>10))
}

func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
