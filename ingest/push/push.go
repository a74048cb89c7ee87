// Package push brings a file of records to its unit's topic: it is what
// `duiwu push` and the gateway are made of.
//
//	Prepare  judge the file, fix batch id and reported_at once, write the spool
//	Send     bring what is not acknowledged yet to Kafka; again is harmless
//	Wait     follow the receipt
//
// A prepared batch is a folder: batch.json says what it is, chunks holds the
// messages as they are sent, rows.csv says which row of the file became which
// row of which chunk, sent.json how far sending has come. The folder appears
// whole or not at all, and nothing in batch.json, chunks and rows.csv changes
// afterwards: sending it again sends the same bytes, which the worker knows.
package push

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/duiwu/duiwu/ingest/seal"
	"github.com/duiwu/duiwu/ingest/sheet"
	"github.com/duiwu/duiwu/internal/feed"
)

// Options say what is prepared.
type Options struct {
	// File is read; or Reader, and then Name names it to people.
	File   string
	Reader io.Reader
	Name   string
	// Sheet says against what the file is judged: Catalogue, Feed, Unit, Step,
	// AsOf and Clock. Its Batch, RecordKey and Rows are set by Prepare. Without
	// AsOf, a Reader's rows take effect on the day of the clock.
	Sheet sheet.Options
	// ID names the batch; empty makes a new name. A batch of that name must not
	// lie in the folder yet.
	ID string
	// RecordKey is the unit's key for the ids of rows without a record number.
	// Without it such a file is refused: ErrNoRecordKey.
	RecordKey []byte
	// Traceparent is the trace that the batch belongs to; empty for none.
	Traceparent string
	// Seal is the national public key; nil sends direct identifiers in the clear.
	Seal *seal.PublicKey
	// Partitions is how many the unit's topic has; see ingest.Partitions.
	Partitions int
	// Dir is the folder in which the batch's folder is made; default is Spool(File).
	Dir string
	// AllOrNothing prepares nothing when any row is refused: ErrRefused.
	AllOrNothing bool
}

var (
	// ErrNothing says that no row of the file may be sent.
	ErrNothing = errors.New("no row of the file can be accepted, so nothing was prepared")
	// ErrRefused says that AllOrNothing met a row that is refused.
	ErrRefused = errors.New("some rows are refused and all-or-nothing was asked for, so nothing was prepared")
	// ErrNoRecordKey says that record ids had to be derived and there is no key.
	ErrNoRecordKey = errors.New("rows without a record_id need the unit's record key: make one with `duiwu keys new record`, once, and name it in the profile; keep it for ever, since a new key makes every record a new one")
)

// Spool is the folder in which the batches of a file lie.
func Spool(file string) string { return file + ".push" }

const (
	batchFile  = "batch.json"
	chunksFile = "chunks"
	rowsFile   = "rows.csv"
	sentFile   = "sent.json"
	// making begins the name of a folder that is not whole yet.
	making = ".making-"
)

// Batch is a prepared batch, as its batch.json says.
type Batch struct {
	// Dir is the batch's folder.
	Dir string `json:"-"`

	ID         string    `json:"batch_id"`
	Unit       string    `json:"unit"`
	Feed       string    `json:"feed"`
	Schema     int       `json:"schema_version"`
	PreparedAt time.Time `json:"prepared_at"`
	// Effective is effective_from of the rows that say none.
	Effective  string `json:"effective_from"`
	Partitions int    `json:"partitions"`
	// SealKey is the id of the key that closed the direct identifiers, if any.
	SealKey string `json:"seal_key,omitempty"`
	// Traceparent follows its messages, however often they are sent.
	Traceparent string `json:"traceparent,omitempty"`
	// Mapping is the sum of the mapping that the file was read by, if any.
	Mapping string `json:"mapping,omitempty"`
	Source  Source `json:"source"`

	// The control totals: rows read, refused on this side, and sent.
	Read    int64 `json:"rows_read"`
	Refused int64 `json:"rows_refused"`
	Rows    int64 `json:"rows"`
	// SHA256 is of all chunks, one after the other.
	SHA256 string  `json:"sha256"`
	Chunks []Chunk `json:"chunks"`
}

// Source is the file that a batch was made of.
type Source struct {
	Name   string `json:"name"`
	Path   string `json:"path,omitempty"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Chunk is one message. Its number is its position in Batch.Chunks, from 0.
type Chunk struct {
	// Key is the message key, of the chunk's first record: all of its records
	// belong to Partition.
	Key       string `json:"key"`
	Partition int    `json:"partition"`
	Rows      int    `json:"rows"`
	Offset    int64  `json:"offset"` // in the file of chunks
	Size      int    `json:"size"`
	SHA256    string `json:"sha256"`
}

// Prepare judges a file and writes the batch of its acceptable rows. The report
// is there whenever the file could be judged, with an error as well. The error
// is *sheet.Unusable, ErrNothing, ErrRefused, ErrNoRecordKey, or about the
// machine; then nothing is left on disk.
func Prepare(ctx context.Context, opt Options) (*Batch, *sheet.Report, error) {
	if opt.Partitions < 1 {
		return nil, nil, errors.New("cannot prepare a batch: how many partitions the topic has is not known")
	}
	if opt.Sheet.Clock == nil {
		opt.Sheet.Clock = time.Now
	}
	spool := opt.Dir
	if spool == "" {
		if opt.File == "" {
			return nil, nil, errors.New("cannot prepare a batch: a reader needs a folder for its spool")
		}
		spool = Spool(opt.File)
	}
	if err := os.MkdirAll(spool, 0o700); err != nil {
		return nil, nil, fmt.Errorf("cannot make the spool: %w", err)
	}
	sweep(spool)
	dir, err := os.MkdirTemp(spool, making)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make the spool: %w", err)
	}
	defer func() {
		_ = os.RemoveAll(dir) // gone already when all went well
		if opt.Dir == "" {
			_ = os.Remove(spool) // stays unless it is empty
		}
	}()
	p := &preparing{opt: &opt, dir: dir}
	b, report, err := p.run(ctx)
	if err != nil {
		return nil, report, err
	}
	b.Dir = filepath.Join(spool, b.ID)
	if err := os.Rename(dir, b.Dir); err != nil {
		return nil, report, fmt.Errorf("cannot finish the spool: %w", err)
	}
	return b, report, syncDir(spool)
}

// sweep removes what a killed Prepare left, which may hold rows in the clear.
// One that still works is younger.
func sweep(spool string) {
	all, err := os.ReadDir(spool)
	if err != nil {
		return
	}
	for _, e := range all {
		info, err := e.Info()
		if err == nil && strings.HasPrefix(e.Name(), making) && time.Since(info.ModTime()) > 6*time.Hour {
			_ = os.RemoveAll(filepath.Join(spool, e.Name())) // the next one tries again
		}
	}
}

// newID names a batch: when it was prepared, for people, and what makes it one
// of a kind. The letter between day and time keeps its digits from looking like a
// number of a person, which the quarantine would not repeat.
func newID(now time.Time) string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	tail := make([]byte, len(b))
	for i, v := range b {
		tail[i] = "abcdefghijkmnpqrstuvwxyzacegikmo"[v&31]
	}
	return now.In(feed.Shanghai).Format("20060102t150405") + "-" + string(tail)
}

// OpenBatch opens a prepared batch by its folder.
func OpenBatch(dir string) (*Batch, error) {
	raw, err := os.ReadFile(filepath.Join(dir, batchFile))
	if err != nil {
		return nil, fmt.Errorf("cannot open the prepared batch: %w", err)
	}
	b := &Batch{Dir: dir}
	if err := json.Unmarshal(raw, b); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", filepath.Join(dir, batchFile), err)
	}
	if b.ID == "" || b.Unit == "" || b.Feed == "" || len(b.Chunks) == 0 || b.Partitions < 1 {
		return nil, fmt.Errorf("cannot use %s: it is no prepared batch", filepath.Join(dir, batchFile))
	}
	return b, nil
}

// Latest opens the newest batch of a spool; nil when there is none.
func Latest(spool string) (*Batch, error) {
	all, err := os.ReadDir(spool)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look for prepared batches: %w", err)
	}
	var latest *Batch
	for _, e := range all {
		if !e.IsDir() || strings.HasPrefix(e.Name(), making) {
			continue
		}
		b, err := OpenBatch(filepath.Join(spool, e.Name()))
		if err != nil {
			return nil, err
		}
		if latest == nil || b.PreparedAt.After(latest.PreparedAt) {
			latest = b
		}
	}
	return latest, nil
}

// HashFile is the SHA-256 of a file, in hexadecimal: what Source.SHA256 holds.
func HashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("cannot read %s: %w", filepath.Base(path), errors.Unwrap(err))
	}
	defer func() { _ = f.Close() }() // it was only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("cannot read %s: %w", filepath.Base(path), err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// replace writes a small file so that a reader finds the old or the new one.
func replace(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), making+"*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(append(raw, '\n'))
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // it is thrown away
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename survive a power cut, where folders can be synced.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = d.Sync() // not every system can
	return d.Close()
}
