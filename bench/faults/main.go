// Command faults breaks the path on purpose and looks at what is left: the
// production worker between an Apache Kafka and a real ClickHouse, with a proxy
// in each connection that sees what the worker is doing and strikes at an exact
// moment. It writes what it saw to docs/reliability.md.
//
//	go run ./bench/faults                        # every fault at every moment: about half an hour
//	go run ./bench/faults --only 'ledger insert' # a part of it, added to what is known
//	go run ./bench/faults --seed 7 --for 30m     # random faults, one schedule a seed
//	go run ./bench/faults --keys 20000000        # what a worker's memory of so many keys costs
//	go run ./bench/faults --flaps 5 --keys 30000 # cold topics, and a worker that dies again and again
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/duiwu/duiwu/internal/broker"
	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/fetch"
)

func main() {
	engine.Main()
	broker.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	seed := flag.Uint64("seed", 1, "another seed makes another schedule of random faults")
	length := flag.Duration("for", 0, "make random faults for so long, in place of the matrix")
	only := flag.String("only", "", "regular expression over \"moment / fault\": only these, added to what earlier runs saw")
	report := flag.String("report", "docs/reliability.md", "file to write the tables to")
	keys := flag.Int("keys", 0, "measure a worker that learns so many stored keys, in place of the matrix")
	over := flag.Int("partitions", 1, "with --keys: partitions of their topic")
	flaps := flag.Int("flaps", 0, "measure the cold topics of 32 units while a worker dies so many times, in place of the matrix; --keys is then of one topic")
	state := flag.String("state", ".soak", "folder for what was seen")
	flag.Parse()
	pick, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("--only: %w", err)
	}
	if err := os.MkdirAll(*state, 0o700); err != nil {
		return fmt.Errorf("cannot make the folder: %w", err)
	}
	dir, err := os.MkdirTemp("", "faults")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	lib, err := fetch.LibCHDB(ctx)
	if err != nil {
		return err
	}
	jars, err := fetch.Kafka(ctx)
	if err != nil {
		return err
	}
	l, err := openLab(ctx, dir, lib, jars)
	if err != nil {
		return err
	}
	defer l.close()
	switch {
	case *flaps > 0:
		return l.flap(ctx, 32, *keys, *flaps, os.Stdout)
	case *keys > 0:
		return l.remember(ctx, *keys, *over, os.Stdout, "--database-timeout", "5m")
	}
	b, err := newBench(ctx, l)
	if err != nil {
		return err
	}
	seen := &results{path: filepath.Join(*state, "results.json"), report: *report}
	if err := seen.load(); err != nil {
		return err
	}
	if *length > 0 {
		return b.soak(ctx, *seed, *length, os.Stderr, func(k *soak) error {
			seen.Soak = k
			return seen.write()
		})
	}
	if *only == "" {
		seen.Cells = nil
	}
	bad := 0
	note := func(r result, err error) error {
		if ctx.Err() != nil {
			return ctx.Err() // what was broken off failed at nothing
		}
		if err != nil {
			r.Problems = append(r.Problems, err.Error())
		}
		r.Problems = append(r.Problems, l.ended()...)
		verdict := "ok in " + r.Recovery.Round(100*time.Millisecond).String()
		if len(r.Problems) > 0 {
			bad++
			verdict = "FAILED"
		}
		fmt.Fprintf(os.Stderr, "%s / %s: %s\n", r.Moment, r.Fault, verdict)
		for _, p := range r.Problems {
			fmt.Fprintln(os.Stderr, "   ", p)
		}
		return seen.add(r)
	}
	for _, m := range moments {
		for _, f := range faults {
			if m.meets(f) && pick.MatchString(m.says+" / "+f.name) && ctx.Err() == nil {
				r, err := b.run(ctx, m, f)
				if err := note(r, err); err != nil {
					return err
				}
			}
		}
	}
	for _, v := range variants {
		if pick.MatchString(variant0+" / "+v.name) && ctx.Err() == nil {
			problems, err := b.metamorphic(ctx, v, *seed)
			if err := note(result{Moment: variant0, Fault: v.name, Problems: problems}, err); err != nil {
				return err
			}
		}
	}
	for _, s := range situations {
		if pick.MatchString(situation0+" / "+s.name) && ctx.Err() == nil {
			r, err := s.run(ctx, b)
			r.Moment, r.Fault = situation0, s.name
			if err := note(r, err); err != nil {
				return err
			}
		}
	}
	if ctx.Err() == nil && bad > 0 {
		return fmt.Errorf("%d faults were not survived", bad)
	}
	return ctx.Err()
}

// openLab builds the production binary and starts the servers.
func openLab(ctx context.Context, dir, lib, jars string) (*lab, error) {
	bin := filepath.Join(dir, "duiwu")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", bin, "github.com/duiwu/duiwu/cmd/duiwu").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot build duiwu: %w\n%s", err, out)
	}
	return newLab(ctx, dir, bin, lib, jars)
}

// results are kept as they come, so that a run that is stopped has its part.
type results struct {
	path, report string
	Cells        []result
	Soak         *soak // the last random schedule; nil when none was run
}

func (s *results) load() error {
	raw, err := os.ReadFile(s.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, s)
}

// revision names the code that was built.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}

func (s *results) add(r result) error {
	kept := s.Cells[:0]
	for _, o := range s.Cells {
		if o.Moment != r.Moment || o.Fault != r.Fault {
			kept = append(kept, o)
		}
	}
	r.Revision = revision()
	s.Cells = append(kept, r)
	return s.write()
}

// write keeps what was seen and writes the page.
func (s *results) write() error {
	raw, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.path, raw, 0o600); err != nil {
		return err
	}
	return os.WriteFile(s.report, []byte(s.page()), 0o644)
}
