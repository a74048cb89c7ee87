// Command gpx_duiwu_datasource is the backend of the Grafana datasource plugin.
package main

import (
	"os"

	"github.com/grafana/grafana-plugin-sdk-go/backend/datasource"
	"github.com/grafana/grafana-plugin-sdk-go/backend/log"

	"github.com/duiwu/duiwu/charts/pkg/plugin"
)

func main() {
	if err := datasource.Manage("duiwu-datasource", plugin.New, datasource.ManageOpts{}); err != nil {
		log.DefaultLogger.Error("cannot serve the datasource", "error", err)
		os.Exit(1)
	}
}
