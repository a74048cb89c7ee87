// Package feeds is the national contract as data: one YAML file a feed, and the
// code lists, divisions, units, targets and holidays that the feeds refer to.
// internal/feed reads it.
package feeds

import "embed"

//go:embed *.yaml *.csv codes/*.csv
var FS embed.FS
