package push

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/flow"
)

// Sender takes messages and returns when every in-sync replica has them; an
// *ingest.Producer.
type Sender interface {
	Send(context.Context, ...ingest.Outgoing) error
}

// Target is where a batch goes.
type Target struct {
	Sender Sender
	// Topic is the unit's, and Partitions how many it has now: a batch that was
	// cut for another number is not sent.
	Topic      string
	Partitions int
}

// Progress is how far sending has come.
type Progress struct {
	Chunks, ChunksAll int
	Rows, RowsAll     int64
}

// sent is the sending's own memory.
type sent struct {
	// Chunks below this number are acknowledged.
	Chunks int `json:"chunks_acknowledged"`
	// Again are chunks that a receipt misses although they were acknowledged.
	Again []int `json:"chunks_again,omitempty"`
}

func (b *Batch) sent() (sent, error) {
	var s sent
	raw, err := os.ReadFile(filepath.Join(b.Dir, sentFile))
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil {
		return s, fmt.Errorf("cannot read %s: %w", filepath.Join(b.Dir, sentFile), err)
	}
	return s, nil
}

// Sent says whether every chunk was acknowledged.
func (b *Batch) Sent() (bool, error) {
	s, err := b.sent()
	return s.Chunks >= len(b.Chunks) && len(s.Again) == 0, err
}

// rounds bounds the messages of one call, each of another partition: the broker
// writes them at one time, and none is joined with another to more than a topic
// takes.
const rounds = 16

// Send brings what is not acknowledged yet to the topic and returns when all of
// it is. It may be called again after an error, a kill, or success: what was
// acknowledged is not sent twice but for the chunks of one call, which the
// worker then names duplicates. progress may be nil. An error that does not come
// from the sender is permanent (flow.IsPermanent).
func (b *Batch) Send(ctx context.Context, to Target, progress func(Progress)) error {
	if to.Partitions != b.Partitions {
		return flow.Permanent(fmt.Errorf("cannot send batch %s: it was cut for %d partitions and topic %s has %d now; prepare it anew", b.ID, b.Partitions, to.Topic, to.Partitions))
	}
	state, err := b.sent()
	if err != nil {
		return err
	}
	say := func() {
		if progress == nil {
			return
		}
		p := Progress{Chunks: state.Chunks, ChunksAll: len(b.Chunks), RowsAll: b.Rows}
		for i := range b.Chunks[:min(state.Chunks, len(b.Chunks))] {
			p.Rows += int64(b.Chunks[i].Rows)
		}
		progress(p)
	}
	say()
	if state.Chunks >= len(b.Chunks) && len(state.Again) == 0 {
		return nil
	}
	f, err := os.Open(filepath.Join(b.Dir, chunksFile))
	if err != nil {
		return flow.Permanent(fmt.Errorf("cannot send batch %s: %w", b.ID, err))
	}
	defer func() { _ = f.Close() }() // it was only read
	for state.Chunks < len(b.Chunks) || len(state.Again) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		var batch []ingest.Outgoing
		taken := map[int]bool{}
		take := func(n int) (bool, error) {
			c := &b.Chunks[n]
			if len(batch) == rounds || taken[c.Partition] {
				return false, nil
			}
			m, err := b.message(f, n, to.Topic)
			if err != nil {
				return false, err
			}
			taken[c.Partition] = true
			batch = append(batch, m)
			return true, nil
		}
		next := state
		for more := true; more && next.Chunks < len(b.Chunks); {
			if more, err = take(next.Chunks); err != nil {
				return err
			}
			if more {
				next.Chunks++
			}
		}
		for more := true; more && len(next.Again) > 0 && next.Chunks == len(b.Chunks); {
			if more, err = take(next.Again[0]); err != nil {
				return err
			}
			if more {
				next.Again = next.Again[1:]
			}
		}
		if err := to.Sender.Send(ctx, batch...); err != nil {
			return fmt.Errorf("cannot send batch %s to %s: %d of %d chunks are acknowledged; push it again to go on: %w", b.ID, to.Topic, state.Chunks, len(b.Chunks), err)
		}
		state = next
		if err := replace(filepath.Join(b.Dir, sentFile), state); err != nil {
			return flow.Permanent(fmt.Errorf("cannot note what was sent of batch %s: %w", b.ID, err))
		}
		say()
	}
	return nil
}

// message reads a chunk and gives it its headers.
func (b *Batch) message(f *os.File, n int, topic string) (ingest.Outgoing, error) {
	c := &b.Chunks[n]
	value := make([]byte, c.Size)
	if _, err := f.ReadAt(value, c.Offset); err != nil {
		return ingest.Outgoing{}, flow.Permanent(fmt.Errorf("cannot read chunk %d of batch %s: %w", n, b.ID, err))
	}
	if sum := sha256.Sum256(value); hex.EncodeToString(sum[:]) != c.SHA256 {
		return ingest.Outgoing{}, flow.Permanent(fmt.Errorf("cannot send batch %s: chunk %d on disk is not what was prepared; prepare the file anew", b.ID, n))
	}
	head := func(k, v string) ingest.Header { return ingest.Header{Key: []byte(k), Value: []byte(v)} }
	out := ingest.Outgoing{Topic: topic, Key: []byte(c.Key), Value: value, Headers: []ingest.Header{
		head(ingest.HeaderFeed, b.Feed),
		head(ingest.HeaderContentType, ingest.TypeArrow),
		head(ingest.HeaderSchemaVersion, strconv.Itoa(b.Schema)),
		head(ingest.HeaderBatchID, b.ID),
		head(ingest.HeaderBatchRows, strconv.FormatInt(b.Rows, 10)),
		head(ingest.HeaderChunk, strconv.Itoa(n)),
		head(ingest.HeaderBatchSHA256, b.SHA256),
	}}
	if b.Traceparent != "" {
		out.Headers = append(out.Headers, head(ingest.HeaderTraceparent, b.Traceparent))
	}
	if b.SealKey != "" {
		out.Headers = append(out.Headers, head(ingest.HeaderSealKey, b.SealKey))
	}
	return out, nil
}
