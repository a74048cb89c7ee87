package sheet

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// entry is what is remembered of a row: keyed hashes of its natural key and of
// its content, and its place.
type entry struct{ key, content, place uint64 }

const (
	keyShards = 64
	// keysInMemory is how many rows are remembered before they go to files.
	keysInMemory = 3 << 20
	entrySize    = 24
)

// keys finds rows with equal keys in bounded memory: the rows are dealt into
// shards by hash, and each shard is sorted by itself. Beyond keysInMemory the
// shards wait in temporary files, which hold hashes under a key of this process
// and nothing else.
type keys struct {
	shards [keyShards][]entry
	files  [keyShards]*os.File
	n      int
	buf    []byte
}

func (k *keys) add(e entry) error {
	i := e.key >> 58
	k.shards[i] = append(k.shards[i], e)
	if k.n++; k.n < keysInMemory {
		return nil
	}
	return k.spill()
}

func (k *keys) spill() error {
	for i := range k.shards {
		if len(k.shards[i]) == 0 {
			continue
		}
		if k.files[i] == nil {
			f, err := os.CreateTemp("", "duiwu-keys-*")
			if err != nil {
				return fmt.Errorf("cannot keep the keys of a large file: %w", err)
			}
			k.files[i] = f
			_ = os.Remove(f.Name()) // where that is refused, close removes it
		}
		k.buf = k.buf[:0]
		for _, e := range k.shards[i] {
			k.buf = binary.LittleEndian.AppendUint64(k.buf, e.key)
			k.buf = binary.LittleEndian.AppendUint64(k.buf, e.content)
			k.buf = binary.LittleEndian.AppendUint64(k.buf, e.place)
		}
		if _, err := k.files[i].Write(k.buf); err != nil {
			return fmt.Errorf("cannot keep the keys of a large file: %w", err)
		}
		k.shards[i] = k.shards[i][:0]
	}
	k.n = 0
	return nil
}

// twice calls fn for every row whose key stood before, with the first row of it.
func (k *keys) twice(fn func(first, again entry)) error {
	for i := range k.shards {
		all := k.shards[i]
		if f := k.files[i]; f != nil {
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				return err
			}
			r := bufio.NewReaderSize(f, 1<<20)
			var b [entrySize]byte
			for {
				if _, err := io.ReadFull(r, b[:]); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					return fmt.Errorf("cannot read back the keys: %w", err)
				}
				all = append(all, entry{binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])})
			}
		}
		slices.SortFunc(all, func(a, b entry) int {
			return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.place&^badPlace, b.place&^badPlace))
		})
		for j := 0; j < len(all); {
			first := all[j]
			for j++; j < len(all) && all[j].key == first.key; j++ {
				fn(first, all[j])
			}
		}
		k.shards[i] = nil
	}
	return nil
}

func (k *keys) close() {
	for i, f := range k.files {
		if f != nil {
			_ = f.Close()           // nothing in it is wanted any more
			_ = os.Remove(f.Name()) // it is gone already but on Windows
			k.files[i] = nil
		}
	}
}
