// Command alertcheck says which alerts fire. It evaluates the expressions of a
// PrometheusRule with Prometheus' own engine over metrics that a process really
// served: a folder of scrapes in the order of their names, one each --every, where
// a scrape that got no answer is an empty file.
//
// It is a module of its own, because Prometheus has no place in the product's
// go.mod, and none beside Kubernetes either.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"go.yaml.in/yaml/v3"
)

func main() {
	rules := flag.String("rules", "", "file with a PrometheusRule")
	scrapes := flag.String("scrapes", "", "folder of scrapes")
	every := flag.Duration("every", 30*time.Second, "time between two scrapes")
	target := flag.String("labels", "", "labels of the scraped target: job=...,namespace=...,pod=...")
	flag.Parse()
	if err := run(os.Stdout, *rules, *scrapes, *every, *target); err != nil {
		fmt.Fprintln(os.Stderr, "alertcheck:", err)
		os.Exit(1)
	}
}

// rule is what is read of an alert.
type rule struct {
	Alert string `yaml:"alert"`
	Expr  string `yaml:"expr"`
	For   string `yaml:"for"`
}

func run(out io.Writer, rulesFile, dir string, every time.Duration, target string) error {
	raw, err := os.ReadFile(rulesFile)
	if err != nil {
		return err
	}
	var object struct {
		Spec struct {
			Groups []struct {
				Rules []rule `yaml:"rules"`
			} `yaml:"groups"`
		} `yaml:"spec"`
	}
	if err := yaml.Unmarshal(raw, &object); err != nil {
		return fmt.Errorf("cannot read the rules: %w", err)
	}
	db, n, err := load(dir, every, target)
	if err != nil {
		return err
	}
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, EnableAtModifier: true})
	defer engine.Close()
	firing, judged := []string{}, 0
	for _, g := range object.Spec.Groups {
		for _, r := range g.Rules {
			fires, err := evaluate(engine, db, r, n, every)
			if err != nil {
				return fmt.Errorf("cannot evaluate %s: %w", r.Alert, err)
			}
			judged++
			if fires {
				firing = append(firing, r.Alert)
			}
		}
	}
	if judged == 0 {
		return errors.New("there is no rule in the file")
	}
	slices.Sort(firing)
	return json.NewEncoder(out).Encode(firing)
}

// evaluate says whether the rule fires at the last scrape: whether one label set
// was in its answer at every step for as long as the rule asks.
func evaluate(engine *promql.Engine, db memory, r rule, scrapes int, every time.Duration) (bool, error) {
	var hold time.Duration
	if r.For != "" {
		var err error
		if hold, err = time.ParseDuration(r.For); err != nil {
			return false, err
		}
	}
	since := map[uint64]time.Time{}
	at := time.Time{}
	for i := range scrapes {
		at = start.Add(time.Duration(i) * every)
		q, err := engine.NewInstantQuery(context.Background(), db, nil, r.Expr, at)
		if err != nil {
			return false, err
		}
		res := q.Exec(context.Background())
		if res.Err != nil {
			return false, res.Err
		}
		vector, err := res.Vector()
		if err != nil {
			return false, err
		}
		active := map[uint64]bool{}
		for _, s := range vector {
			id := s.Metric.Hash()
			active[id] = true
			if _, ok := since[id]; !ok {
				since[id] = at
			}
		}
		q.Close()
		maps.DeleteFunc(since, func(id uint64, _ time.Time) bool { return !active[id] })
	}
	for _, s := range since {
		if at.Sub(s) >= hold {
			return true, nil
		}
	}
	return false, nil
}

var start = time.Unix(1_700_000_000, 0).UTC()

func load(dir string, every time.Duration, target string) (memory, int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0, err
	}
	own := map[string]string{}
	for pair := range strings.SplitSeq(target, ",") {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, 0, fmt.Errorf("--labels: %q is no name=value", pair)
		}
		own[name] = value
	}
	db := memory{}
	var before map[string]labels.Labels // what the last scrape held
	for i, e := range entries {
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, 0, err
		}
		at := start.Add(time.Duration(i) * every).UnixMilli()
		now := map[string]labels.Labels{}
		add := func(ls labels.Labels, v float64) {
			b := labels.NewBuilder(ls)
			for name, value := range own {
				b.Set(name, value)
			}
			ls = b.Labels()
			now[db.add(ls, at, v)] = ls
		}
		if err := parse(raw, add); err != nil {
			return nil, 0, fmt.Errorf("%s: %w", e.Name(), err)
		}
		up := 0.0
		if len(raw) > 0 {
			up = 1
		}
		add(labels.FromStrings(labels.MetricName, "up"), up)
		for key, ls := range before {
			if now[key].IsEmpty() {
				db.add(ls, at, stale)
			}
		}
		before = now
	}
	return db, len(entries), nil
}

func parse(raw []byte, add func(labels.Labels, float64)) error {
	p := textparse.NewPromParser(raw, labels.NewSymbolTable(), false)
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		_, _, v := p.Series()
		var ls labels.Labels
		p.Labels(&ls)
		add(ls, v)
	}
}
