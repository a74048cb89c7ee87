// Command files measures what duiwu check costs for the largest files that a
// province is promised: it writes them, has the production binary check them,
// and fails when the process ever held more memory than allowed.
//
//	go run ./bench/files                                  # 1 GB of CSV, 1,000,000 rows of XLSX
//	go run ./bench/files --csv 50000000 --xlsx 50000      # the small size, a minute
package main

import (
	"archive/zip"
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	csv := flag.Int64("csv", 1<<30, "bytes of the CSV file; 0 leaves it out")
	xlsx := flag.Int("xlsx", 1_000_000, "rows of the XLSX file; 0 leaves it out")
	limit := flag.Int64("memory", 512, "most megabytes that the process may hold")
	dir := flag.String("dir", "", "where to write the files; empty means a temporary folder")
	only := flag.String("write", "", "write this file and do nothing else")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *only != "" {
		rows, err := write(*only, *csv, *xlsx)
		if err != nil {
			fmt.Fprintln(os.Stderr, "files:", err)
			os.Exit(1)
		}
		fmt.Println(rows)
		return
	}
	if err := run(ctx, *csv, *xlsx, *limit<<20, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "files:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, csv int64, xlsx int, limit int64, dir string) (err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "duiwu-files-*"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	binary := filepath.Join(dir, "duiwu")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/duiwu")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("cannot build duiwu: %w", err)
	}
	fmt.Println("| file | rows | size | time | rows a second | peak memory |")
	fmt.Println("|---|---|---|---|---|---|")
	one := func(what, name string, args ...string) error {
		path := filepath.Join(dir, name)
		rows, err := writer(ctx, append(args, "--write", path)...)
		if err != nil {
			return err
		}
		return errors.Join(measure(ctx, binary, path, what, rows, limit), os.Remove(path))
	}
	if csv > 0 {
		if err := one("CSV", "large.csv", "--csv", fmt.Sprint(csv)); err != nil {
			return err
		}
	}
	if xlsx > 0 {
		return one("XLSX", "large.xlsx", "--csv", "0", "--xlsx", fmt.Sprint(xlsx))
	}
	return nil
}

// writer writes a file in a process of its own: Linux counts what the parent held
// towards a child's peak, and writing a workbook takes more than reading one.
func writer(ctx context.Context, args ...string) (rows int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("cannot write the file: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(string(out)))
}

// write fills a file: CSV up to a size, or XLSX of some rows.
func write(path string, csv int64, xlsx int) (rows int, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	if csv > 0 {
		rows, err = writeCSV(w, csv)
	} else {
		rows, err = xlsx, writeXLSX(w, xlsx)
	}
	return rows, errors.Join(err, w.Flush(), f.Close())
}

// measure runs duiwu check over a file that is clean but for one row.
func measure(ctx context.Context, binary, path, what string, rows int, limit int64) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, binary, "check", path, "--feed", "worker", "--unit", "310000", "--as-of", "2016-11-30", "--test-area", "--json")
	cmd.Stderr = os.Stderr
	began := time.Now()
	out, err := cmd.Output()
	took := time.Since(began)
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return fmt.Errorf("cannot check %s: %w", path, err)
	}
	want := fmt.Sprintf(`{"feed":"worker","rows":%d,"accepted":%d,"findings":[`, rows, rows-1)
	if !strings.HasPrefix(string(out), want) || strings.Count(string(out), `"rule"`) != 1 {
		return fmt.Errorf("%s was not read as it was written: %.200s", path, out)
	}
	peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10 // kilobytes on Linux
	fmt.Printf("| %s | %d | %d MB | %.1f s | %.0f | %d MB |\n", what, rows, info.Size()>>20, took.Seconds(), float64(rows)/took.Seconds(), peak>>20)
	if peak > limit {
		return fmt.Errorf("checking %s held %d MB; %d MB are allowed", path, peak>>20, limit>>20)
	}
	return nil
}

var headings = []string{"公民身份号码", "姓名", "手机号码", "性别", "出生日期", "学历", "人员类别", "用人单位代码", "工作地区划", "从事禁毒社工起始日期"}

// person writes the cells of row i; the last row that is asked for has a
// division that is none.
func person(i int, bad bool) [10]string {
	day := time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, i/900%18000)
	serial := i%900 + 1
	id := fmt.Sprintf("%06d%s%03d", 119901+i/900/18000, day.Format("20060102"), serial)
	sum := 0
	for k, w := range []int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2} {
		sum += int(id[k]-'0') * w
	}
	id += string("10X98765432"[sum%11])
	sex := "女"
	if serial%2 == 1 {
		sex = "男"
	}
	area := "310115"
	if bad {
		area = "319999"
	}
	return [10]string{id, "张" + string([]rune{rune(0x4E00 + i%5000), rune(0x4E00 + i/5000%5000)}), fmt.Sprintf("138%08d", i%1e8), sex, day.Format(time.DateOnly), "本科", "01", "52119900MJ0000018T", area, "2016-01-01"}
}

func writeCSV(w io.Writer, size int64) (int, error) {
	n, err := fmt.Fprintln(w, strings.Join(headings, ","))
	written := int64(n)
	for i := 0; ; i++ {
		if err != nil {
			return 0, err
		}
		last := written+200 > size
		p := person(i, last)
		n, err = fmt.Fprintln(w, strings.Join(p[:], ","))
		written += int64(n)
		if last {
			return i + 1, err
		}
	}
}

// writeXLSX writes a workbook as spreadsheets do: shared texts, each once.
func writeXLSX(w io.Writer, rows int) error {
	z := zip.NewWriter(w)
	part := func(name string, fill func(io.Writer) error) error {
		f, err := z.Create(name)
		if err != nil {
			return err
		}
		b := bufio.NewWriterSize(f, 1<<20)
		return errors.Join(fill(b), b.Flush())
	}
	text := func(s string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
	}
	shared := map[string]int{}
	var texts []string
	return errors.Join(
		part("xl/workbook.xml", text(`<workbook><sheets><sheet name="名册" sheetId="1" r:id="r1"/></sheets></workbook>`)),
		part("xl/_rels/workbook.xml.rels", text(`<Relationships><Relationship Id="r1" Type="x/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="r2" Type="x/sharedStrings" Target="sharedStrings.xml"/></Relationships>`)),
		part("xl/worksheets/sheet1.xml", func(w io.Writer) error {
			if _, err := io.WriteString(w, "<worksheet><sheetData>"); err != nil {
				return err
			}
			for i := -1; i < rows; i++ {
				var cells [10]string
				if i < 0 {
					copy(cells[:], headings)
				} else {
					cells = person(i, i == rows-1)
				}
				fmt.Fprintf(w, `<row r="%d">`, i+2)
				for c, t := range cells {
					at, ok := shared[t]
					if !ok {
						at = len(texts)
						shared[t], texts = at, append(texts, t)
					}
					fmt.Fprintf(w, `<c r="%c%d" t="s"><v>%d</v></c>`, 'A'+c, i+2, at)
				}
				if _, err := io.WriteString(w, "</row>"); err != nil {
					return err
				}
			}
			_, err := io.WriteString(w, "</sheetData></worksheet>")
			return err
		}),
		part("xl/sharedStrings.xml", func(w io.Writer) error {
			_, err := io.WriteString(w, "<sst>")
			for _, t := range texts {
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(w, "<si><t>%s</t></si>", t)
			}
			return errors.Join(err, text("</sst>")(w))
		}),
		z.Close())
}
