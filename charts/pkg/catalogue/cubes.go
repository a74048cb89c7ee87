package catalogue

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/duiwu/duiwu/internal/feed"
)

// cubesFile declares what may be asked by who may not see the nation.
const cubesFile = "cubes.yaml"

// Cube is an indicator with the dimensions by which a unit may split it; without
// a dimension it may be asked as well. Month and province always go with it.
type Cube struct {
	Indicator string   `yaml:"indicator"`
	By        []string `yaml:"by,omitempty"`
}

func (c *Catalogue) readCubes(fsys fs.FS, ps *feed.Problems) {
	raw, err := fs.ReadFile(fsys, cubesFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	f := &file{name: cubesFile, root: &yaml.Node{}, out: ps}
	if err == nil {
		err = yaml.Unmarshal(raw, f.root)
	}
	if err == nil {
		dec := yaml.NewDecoder(strings.NewReader(string(raw)))
		dec.KnownFields(true)
		err = dec.Decode(&c.cubes)
	}
	if err != nil {
		f.yaml(err)
		return
	}
	for i, x := range c.cubes {
		in := c.byID[x.Indicator]
		if in == nil {
			f.at(fmt.Sprint(i, ".indicator"), "there is no indicator %q", x.Indicator)
			continue
		}
		for j, d := range x.By {
			switch {
			case !slices.Contains(in.Dimensions, d):
				f.at(fmt.Sprint(i, ".by.", j), "%s has no dimension %q", in.ID, d)
			case d == Region || d == OtherUnit:
				f.at(fmt.Sprint(i, ".by.", j), "%q tells of other units", d)
			}
		}
	}
}

// Declared says whether who may not see the nation may ask for an indicator
// split by a dimension, or by none.
func (c *Catalogue) Declared(in *Indicator, split string) bool {
	if split == County { // of his own unit, whose people it is
		return in.ByCounty()
	}
	return slices.ContainsFunc(c.cubes, func(x Cube) bool {
		return x.Indicator == in.ID && (split == "" || slices.Contains(x.By, split))
	})
}
