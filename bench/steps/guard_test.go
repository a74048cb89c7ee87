package steps

import (
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"testing"
)

var (
	guard  = flag.Bool("guard", false, "hold the steps against their recorded ratios; let nothing else run beside it")
	update = flag.Bool("update", false, "with -guard: record the ratios of this machine")
)

const ratiosFile = "testdata/ratios.json"

// slack is how much worse a ratio may get before the guard speaks.
const slack = 1.3

// read does what nobody will make faster or slower: the standard library
// reads a fifth of the records into a map. It touches memory and allocates as the
// steps do, so that a busy machine slows both alike.
func (p *path) read() int64 {
	begun := cpu()
	for _, v := range p.calibration {
		var m map[string]string
		if err := json.Unmarshal(v, &m); err != nil {
			p.tb.Fatal(err)
		}
	}
	return cpu() - begun
}

// hash is half of the loop for tokens, which are hashes for a good part: a processor that
// reads JSON twice as fast as another one may hash no faster.
func (p *path) hash() int64 {
	begun := cpu()
	var block [sha256.BlockSize]byte
	for range 12 * rows {
		sum := sha256.Sum256(block[:])
		copy(block[:], sum[:])
	}
	return cpu() - begun
}

// TestNoStepGetsSlower holds each step's CPU time, as a ratio to a calibration
// loop in the same run, against the recorded one, which is the larger of those of two
// kinds of processor. It takes the least of several rounds, in which the loops and the steps alternate.
func TestNoStepGetsSlower(t *testing.T) {
	if !*guard {
		t.Skip("measures alone, as make test does: go test ./bench/steps -guard")
	}
	p := newPath(t)
	measure := func(rounds int) map[string]float64 {
		least, read, hash := [len(names)]int64{}, int64(math.MaxInt64), int64(math.MaxInt64)
		for i := range least {
			least[i] = math.MaxInt64
		}
		for range rounds {
			read, hash = min(read, p.read()), min(hash, p.hash())
			for i, took := range p.run(t.Context(), io.Discard) {
				least[i] = min(least[i], took)
			}
		}
		ratios := map[string]float64{}
		for i, name := range names {
			loop := read
			if name == "pseudonymize" {
				loop += hash
			}
			if name != "encode" { // too short to be measured alone
				ratios[name] = math.Round(float64(least[i])/float64(loop)*1000) / 1000
			}
		}
		return ratios
	}
	got := measure(20)
	if *update {
		raw, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(ratiosFile, append(raw, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	raw, err := os.ReadFile(ratiosFile)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]float64
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	slower := func() (out []string) {
		for name, w := range want {
			if got[name] > w*slack {
				out = append(out, fmt.Sprintf("%s takes %.3f of the calibration loop, recorded are %.3f", name, got[name], w))
			}
		}
		return out
	}
	if len(slower()) > 0 {
		// A machine that was disturbed during one measurement gets a longer one.
		for name, g := range measure(40) {
			got[name] = min(got[name], g)
		}
	}
	for _, s := range slower() {
		t.Error(s + "; if this is meant, record it with -update and say why")
	}
	t.Logf("ratios to the calibration loop: %v", got)
}
