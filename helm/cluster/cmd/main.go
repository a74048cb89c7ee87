// Command cmd is the cluster for a person: go run ./helm/cluster/cmd up | down |
// reason | load IMAGE.tar.
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

	"github.com/duiwu/duiwu/helm/cluster"
)

func main() {
	cluster.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir := flag.String("dir", ".cluster", "folder of the cluster")
	flag.Parse()
	if err := run(ctx, *dir, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, args []string) error {
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
	case len(args) == 1 && args[0] == "down":
		return cluster.Down(dir)
	case len(args) == 1 && args[0] == "reason":
		if reason := cluster.Reason(); reason != "" {
			return errors.New(reason)
		}
		return nil
	case len(args) == 2 && args[0] == "load":
		return cluster.Load(ctx, dir, args[1])
	}
	return errors.New("want up, down, reason, or load IMAGE.tar")
}
