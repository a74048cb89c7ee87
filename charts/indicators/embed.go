// Package indicators is the metric catalogue as data: one YAML file an
// indicator. charts/pkg/catalogue reads it.
package indicators

import "embed"

//go:embed *.yaml
var FS embed.FS
