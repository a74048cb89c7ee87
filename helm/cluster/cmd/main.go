// Command cmd is the cluster for a person: go run ./helm/cluster/cmd prepare | up |
// images | down | load IMAGE.tar. Status 3 of prepare: there can be no cluster here, or not now.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/duiwu/duiwu/helm/cluster"
)

func main() {
	cluster.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir := flag.String("dir", ".cluster", "folder of the cluster")
	budget := flag.Duration("budget", time.Hour, "how long prepare may build")
	flag.Parse()
	if err := run(ctx, *dir, *budget, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		if no := (cluster.NotHere{}); errors.As(err, &no) {
			os.Exit(3)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, budget time.Duration, args []string) error {
	say := func(format string, args ...any) { fmt.Fprintf(os.Stderr, "cluster: "+format+"\n", args...) }
	switch {
	case len(args) == 1 && args[0] == "up":
		if err := cluster.Up(ctx, "tools", dir, say); err != nil {
			return err
		}
		helm, err := cluster.Program(dir, "helm")
		if err != nil {
			return err
		}
		config, err := filepath.Abs(cluster.Kubeconfig(dir))
		if err != nil {
			return err
		}
		// For eval: nothing else goes to stdout.
		fmt.Printf("export KUBECONFIG=%s PATH=%s:$PATH\n", config, filepath.Dir(helm))
		return nil
	case len(args) == 1 && args[0] == "images":
		return cluster.LoadProject(ctx, ".", dir, say)
	case len(args) == 1 && args[0] == "down":
		return cluster.Down(dir)
	case len(args) == 1 && args[0] == "prepare":
		return cluster.Prepare(ctx, "tools", budget, say)
	case len(args) == 2 && args[0] == "load":
		return cluster.Load(ctx, dir, args[1])
	}
	return errors.New("want prepare, up, images, down, or load IMAGE.tar")
}
