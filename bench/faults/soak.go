package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"
)

// soak is what random faults found, for the report.
type soak struct {
	First, Last uint64 // seeds
	Rounds      int
	Took        time.Duration
	Faults      map[string]int // by fault
	Between     int            // of the faults, those that met no moment of the matrix
	Failed      []string
}

// hit is one fault of a schedule; at is empty when it met no moment of the matrix.
type hit struct{ fault, at string }

func (h hit) String() string {
	if h.at == "" {
		return h.fault + " between two moments"
	}
	return h.fault + " at " + h.at
}

// soak makes random faults at random moments for a length of time, round after
// round: each round is a load in a fresh cell, struck several times while it is
// produced and read. A round that fails says its seed and its schedule.
func (b *bench) soak(ctx context.Context, seed uint64, length time.Duration, say io.Writer, keep func(*soak) error) error {
	begun := time.Now()
	seen := &soak{First: seed, Faults: map[string]int{}}
	for n := 0; time.Since(begun) < length && ctx.Err() == nil; n++ {
		schedule, problems, err := b.round(ctx, seed+uint64(n))
		if err != nil {
			problems = append(problems, err.Error())
		}
		if ctx.Err() != nil {
			break
		}
		problems = append(problems, b.ended()...)
		verdict := "ok"
		if len(problems) > 0 {
			verdict = "FAILED"
		}
		var hits []string
		for _, h := range schedule {
			hits = append(hits, h.String())
			seen.Faults[h.fault]++
			if h.at == "" {
				seen.Between++
			}
		}
		fmt.Fprintf(say, "seed %d: %s: %s\n", seed+uint64(n), verdict, strings.Join(hits, ", "))
		seen.Last, seen.Rounds, seen.Took = seed+uint64(n), n+1, time.Since(begun)
		if len(problems) > 0 {
			seen.Failed = append(seen.Failed, fmt.Sprintf("seed %d: %s", seed+uint64(n), strings.Join(problems, "; ")))
		}
		if err := keep(seen); err != nil {
			return err
		}
		if len(problems) > 0 {
			return fmt.Errorf("seed %d: %s\nschedule: %s", seed+uint64(n), strings.Join(problems, "\n"), strings.Join(hits, ", "))
		}
	}
	return ctx.Err()
}

// round is one seed.
func (b *bench) round(ctx context.Context, seed uint64) (schedule []hit, problems []string, err error) {
	dice := rand.New(rand.NewPCG(seed, 7))
	load := newLoad(keys, seed)
	c, err := b.cell(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer c.stop()
	if err := c.migrate(ctx); err != nil {
		return nil, nil, err
	}
	c.clock = begin
	if _, err := c.work(); err != nil {
		return nil, nil, err
	}
	produced := make(chan error, 1)
	go func() {
		// Sent at once they are read in a second, and all faults but the first meet a
		// worker that has nothing to do.
		dice := rand.New(rand.NewPCG(seed, 8))
		for m := load.messages; len(m) > 0; time.Sleep(time.Duration(dice.IntN(1000)) * time.Millisecond) {
			n := min(len(m), 1+dice.IntN(50))
			// A message that was sent twice is another record that came.
			if err := again(ctx, 2*time.Minute, func() error { return c.send(ctx, m[:n]) }); err != nil {
				produced <- err
				return
			}
			m = m[n:]
		}
		produced <- nil
	}()
	for range 2 + dice.IntN(4) {
		m, f := atWork[dice.IntN(len(atWork))], faults[dice.IntN(len(faults))]
		if f.name == "zombie" && len(c.workers) > 1 {
			f = faults[0]
		}
		nth := 1 + dice.IntN(4)
		w := b.wires[0].clickhouse
		if m.onKafka() {
			w = b.wires[0].kafka
		}
		h := hit{f.name, fmt.Sprintf("%s (%s) #%d", m.name, m.side, nth)}
		sprung := w.arm(trap{m.name, m.side, nth, func() bool { return f.strike(c, w) }, nil})
		select {
		case <-sprung:
		case <-ctx.Done():
			return schedule, nil, ctx.Err()
		case <-time.After(4 * time.Second):
			// The path is past this moment, or does not come there: strike where it stands.
			w.drop()
			select {
			case <-sprung: // just now
			default:
				if f.name == "zombie" {
					continue
				}
				f.strike(c, w)
				h = hit{fault: f.name}
			}
		}
		schedule = append(schedule, h)
		time.Sleep(f.pause)
		if err := f.heal(ctx, c, w); err != nil {
			return schedule, nil, err
		}
	}
	if err := <-produced; err != nil {
		return schedule, nil, err
	}
	if err := c.wait(ctx, 2*bound); err != nil {
		return schedule, []string{err.Error()}, nil
	}
	problems, err = b.holds(ctx, c)
	return schedule, problems, err
}
