// Command cmd fills the cache: go run ./internal/fetch/cmd thing...
// where a thing is libchdb, kafka, zookeeper, chromium, viewer or plugin. It writes nothing to
// stdout.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/duiwu/duiwu/internal/fetch"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for _, thing := range os.Args[1:] {
		if err := get(ctx, thing); err != nil {
			fmt.Fprintln(os.Stderr, "fetch:", err)
			os.Exit(1)
		}
	}
}

func get(ctx context.Context, thing string) error {
	var err error
	switch thing {
	case "libchdb":
		_, err = fetch.LibCHDB(ctx)
	case "kafka":
		_, err = fetch.Kafka(ctx)
	case "zookeeper":
		_, err = fetch.ZooKeeper(ctx)
	case "chromium":
		_, _, err = fetch.Chromium(ctx)
	case "viewer":
		_, err = fetch.Viewer(ctx)
	case "plugin":
		_, err = fetch.PluginModules(ctx)
	default:
		err = fmt.Errorf("unknown thing %q: want libchdb, kafka, zookeeper, chromium, viewer or plugin", thing)
	}
	return err
}
