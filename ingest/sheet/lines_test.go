package sheet

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/flow/flowtest"
)

// Lines gives back the header and the rows with findings, and no others, in
// every format.
func TestLines(t *testing.T) {
	cat := catalogue(t)
	f := func(text string, limit int, want ...Line) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		file, err := Open(path)
		require.NoError(t, err)
		defer func() { require.NoError(t, file.Close()) }()
		mem := flowtest.Memory()
		defer mem.AssertSize(t, 0)
		r, err := Check(t.Context(), file, Options{Catalogue: cat, Feed: cat.Feed("training"), Unit: "310000", Step: pass{}, Mem: mem})
		require.NoError(t, err)
		got, err := Lines(t.Context(), file, r, limit)
		require.NoError(t, err)
		for i := range got {
			got[i].table = 0
		}
		require.Equal(t, want, got)
	}
	// The reader's own finding: a formula in a text file.
	head := Line{Row: 2, Cells: []string{"session_id", "title", "备注"}, Fields: []string{"session_id", "title", ""}}
	csv := "培训班次表\nsession_id,title,备注\nA,一,x\n=1+1,二\nC,三\n@x,四\n"
	f(csv, 10, head, Line{Row: 4, Cells: []string{"=1+1", "二"}}, Line{Row: 6, Cells: []string{"@x", "四"}})
	f(csv, 1, head, Line{Row: 4, Cells: []string{"=1+1", "二"}})
	f(csv, 0, head)
	f(`{"session_id":"A","title":"一"}`+"\n"+`{"session_id":"B","title":{"x":1}}`+"\n", 10,
		Line{Cells: []string{"session_id", "title"}, Fields: []string{"session_id", "title"}}, Line{Row: 2, Cells: []string{"B", "{}"}})
}
