package dashboards

import (
	"reflect"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
)

// Query is what a panel asks, in the JSON that plugin.Model reads. A test holds
// every one against the datasource's own check.
type Query struct {
	RefID      string                `json:"refId,omitempty"`
	Datasource *common.DataSourceRef `json:"datasource,omitempty"`
	QueryType  string                `json:"queryType,omitempty"`
	Indicator  string                `json:"indicator,omitempty"`
	GroupBy    []string              `json:"groupBy,omitempty"`
	Filter     *Filter               `json:"filter,omitempty"`
	Compare    []string              `json:"compare,omitempty"`
	AsOf       string                `json:"asOf,omitempty"`
	Edition    string                `json:"edition,omitempty"`
	Format     string                `json:"format,omitempty"`
	Column     string                `json:"column,omitempty"`
	Sort       string                `json:"sort,omitempty"`
	Limit      int                   `json:"limit,omitempty"`
	List       string                `json:"list,omitempty"`
	Events     string                `json:"events,omitempty"`
	Lang       string                `json:"lang,omitempty"`
}

// Filter restricts units and codes; a variable stands as $name.
type Filter struct {
	Units []string `json:"units,omitempty"`
	Codes []string `json:"codes,omitempty"`
}

func (Query) ImplementsDataqueryVariant() {}
func (Query) DataqueryType() string       { return "duiwu-datasource" }
func (Query) Validate() error             { return nil }
func (q Query) Equals(other variants.Dataquery) bool {
	o, ok := other.(Query)
	return ok && reflect.DeepEqual(q, o)
}

// Build makes a query its own builder: it has nothing to default.
func (q Query) Build() (variants.Dataquery, error) { return q, nil }

var _ cog.Builder[variants.Dataquery] = Query{}
