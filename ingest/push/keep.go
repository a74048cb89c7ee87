package push

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/duiwu/duiwu/ingest/sheet"
)

// Forget takes the records of a batch that was sent whole out of its folder.
// What stays says what the batch was and which row of the file is which row of
// which chunk; it holds no value. Send has nothing more to do for it.
func (b *Batch) Forget() error {
	sent, err := b.Sent()
	if err != nil {
		return err
	}
	if !sent {
		return fmt.Errorf("cannot forget batch %s: it is not sent yet", b.ID)
	}
	if err := os.Remove(filepath.Join(b.Dir, chunksFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot forget batch %s: %w", b.ID, err)
	}
	return nil
}

// Position names a row of a batch as a receipt does.
type Position struct{ Chunk, Row int32 }

// Places says where in the file the rows stand that a receipt speaks of. Rows
// that the batch does not have are left out.
func (b *Batch) Places(of []Position) (map[Position]sheet.Place, error) {
	out := make(map[Position]sheet.Place, len(of))
	if len(of) == 0 {
		return out, nil
	}
	wanted := make(map[Position]bool, len(of))
	for _, p := range of {
		wanted[p] = true
	}
	f, err := os.Open(filepath.Join(b.Dir, rowsFile))
	if err != nil {
		return nil, fmt.Errorf("cannot look up rows of batch %s: %w", b.ID, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	lines := bufio.NewScanner(f)
	lines.Scan() // the header
	for lines.Scan() {
		var p Position
		var at sheet.Place
		if _, err := fmt.Sscanf(lines.Text(), "%d,%d,%d,%d", &p.Chunk, &p.Row, &at.Table, &at.Line); err != nil {
			return nil, fmt.Errorf("cannot look up rows of batch %s: %s is damaged", b.ID, rowsFile)
		}
		if wanted[p] {
			out[p] = at
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("cannot look up rows of batch %s: %w", b.ID, err)
	}
	return out, nil
}
