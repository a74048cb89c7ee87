package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/ingest/mapping"
	"github.com/duiwu/duiwu/internal/feed"
)

var update = flag.Bool("update", false, "write the golden files")

// proposed runs duiwu map and returns its exit status.
func proposed(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	err := run(t.Context(), &environment{stdout: &out, stderr: &errs, getenv: func(string) string { return "" }}, append([]string{"map"}, args...))
	if errors.Is(err, errUsage) {
		status = 2
	} else {
		require.NoError(t, err)
	}
	return status, out.String(), errs.String()
}

// TestProposals holds the proposals for testdata/map/FEED.NAME.EXT to what stands
// beside them: read them as a clerk would when you update them.
func TestProposals(t *testing.T) {
	cat, err := feed.Load(feeds.FS)
	require.NoError(t, err)
	files, err := filepath.Glob("testdata/map/*.*")
	require.NoError(t, err)
	n := 0
	for _, file := range files {
		if filepath.Ext(file) == ".yaml" {
			continue
		}
		n++
		t.Run(filepath.Base(file), func(t *testing.T) {
			name, _, _ := strings.Cut(filepath.Base(file), ".")
			status, stdout, stderr := proposed(t, "--suggest", file, "--feed", name, "--unit", "310000")
			require.Equal(t, 0, status, stderr)
			_, err := mapping.Load("proposal", []byte(stdout), cat)
			require.NoError(t, err, stdout)
			want := strings.TrimSuffix(file, filepath.Ext(file)) + ".yaml"
			if *update {
				require.NoError(t, os.WriteFile(want, []byte(stdout), 0o644))
			}
			golden, err := os.ReadFile(want)
			require.NoError(t, err)
			require.Equal(t, string(golden), stdout, "run go test ./cmd/duiwu -run Proposals -update")
		})
	}
	require.GreaterOrEqual(t, n, 4)
}

// TestProposalsLeadSomewhere: what is proposed for a roster, with the decisions
// that it asks for taken, makes clean records of it.
func TestProposalsLeadSomewhere(t *testing.T) {
	_, text, _ := proposed(t, "--suggest", "testdata/map/worker.roster.csv", "--feed", "worker", "--unit", "310000")
	decide := func(old, new string) {
		t.Helper()
		require.Contains(t, text, old)
		text = strings.Replace(text, old, new, 1)
	}
	decide("    field: education_code\n", "    field: education_code\n    codes: {大专: \"31\", 大学本科生: \"21\"}\n")
	decide("    field: worker_category\n", "    field: worker_category\n    codes: {机构聘: \"01\", 购买岗位: \"03\"}\n")
	decide("    field: county_code\n", "    field: county_code\n    codes: {浦东新区: \"310115\", 徐汇区: \"310104\"}\n")
	decide("ignore:\n", "ignore:\n  - 备注\n")
	path := filepath.Join(t.TempDir(), "mapping.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	status, stdout, stderr := checked(t, "testdata/map/worker.roster.csv", "--feed", "worker", "--unit", "310000", "--as-of", "2016-11-30", "--test-area", "--mapping", path)
	require.Equal(t, 0, status, stdout+stderr)
	require.Contains(t, stdout, "4 rows, 4 acceptable")
}

// TestProposalsShowNobody proposes for every awkward file: the proposal loads,
// or a sentence says why there is none, and no value of a person is in it.
func TestProposalsShowNobody(t *testing.T) {
	cat, err := feed.Load(feeds.FS)
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(corpus, "*.want"))
	require.NoError(t, err)
	loaded := 0
	for _, want := range files {
		file := strings.TrimSuffix(want, ".want")
		status, stdout, stderr := proposed(t, file, "--suggest", "--feed", "worker")
		for _, text := range []string{"119901", "319902", "529905", "429904", "1380000", "张三", "李四", "王五", "阿依", "1980", "52119900"} {
			require.NotContains(t, stdout+stderr, text, file)
		}
		if status == 2 {
			require.Regexp(t, `\p{Han}.*[A-Za-z]`, stderr, file)
			continue
		}
		_, err := mapping.Load("proposal", []byte(stdout), cat)
		require.NoError(t, err, file)
		loaded++
	}
	require.Greater(t, loaded, 50)
}

// TestRecognizesFeeds: a file says which feed it is of, or is asked about.
func TestRecognizesFeeds(t *testing.T) {
	f := func(want, file string) {
		t.Helper()
		status, stdout, stderr := proposed(t, "--suggest", file)
		if want == "" {
			require.Equal(t, 2, status)
			require.Contains(t, stderr, "write --feed")
			return
		}
		require.Contains(t, stdout, "\nfeed: "+want+"\n", stderr)
	}
	f("worker", "testdata/map/worker.roster.csv")
	f("worker", filepath.Join(corpus, "lo-title-dates.xlsx"))
	f("worker", filepath.Join(corpus, "lines.ndjson"))
	f("", "testdata/map/station.strange.csv")
	f("", "testdata/map/employment.system.ndjson")
}

func TestMapSaysWhatIsMissing(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		status, _, stderr := proposed(t, args...)
		require.Equal(t, 2, status)
		require.Contains(t, stderr, want)
	}
	file := "testdata/map/worker.roster.csv"
	f("--suggest", file, "--feed", "worker")
	f("no feed", file, "--suggest", "--feed", "workers")
	f("no reporting unit", file, "--suggest", "--feed", "worker", "--unit", "999999")
	f("nowhere", "nowhere.csv", "--suggest", "--feed", "worker")

	out := filepath.Join(t.TempDir(), "mapping.yaml")
	status, stdout, _ := proposed(t, file, "--suggest", "--feed", "worker", "--out", out)
	require.Equal(t, 0, status)
	require.Contains(t, stdout, out)
	err := run(t.Context(), &environment{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}, getenv: func(string) string { return "" }}, []string{"map", file, "--suggest", "--feed", "worker", "--out", out})
	require.ErrorContains(t, err, "cannot write the mapping", "a mapping is not written over")

	// A mapping that has faults is refused before the file is read.
	require.NoError(t, os.WriteFile(out, []byte("feed: worker\ncolums: []\n"), 0o600))
	status, _, stderr := checked(t, file, "--feed", "worker", "--unit", "310000", "--mapping", out)
	require.Equal(t, 2, status)
	require.Contains(t, stderr, `mapping.yaml:2: unknown key "colums"`)
	require.NoError(t, os.WriteFile(out, []byte("feed: org\nignore: [a]\n"), 0o600))
	status, _, stderr = checked(t, file, "--feed", "worker", "--unit", "310000", "--mapping", out)
	require.Equal(t, 2, status)
	require.Contains(t, stderr, "The mapping is of feed org")
}
