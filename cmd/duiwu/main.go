// Command duiwu is the one production binary: wiring only, no rule about data.
//
//	duiwu worker    read the units' topics, transform, write to ClickHouse
//	duiwu gateway   take files over HTTPS, and serve the clerks' page
//	duiwu migrate   create or widen the tables
//	duiwu show      print what the feed files give: ddl, schema, docs, feeds
//	duiwu check     check a file of records as the worker would, or feed files
//	duiwu map       propose a mapping of a file's columns to a feed's fields
//	duiwu template  write the XLSX template of a feed
//	duiwu push      send a file of records and follow its receipt
//	duiwu keys      make keys; give the tables' tokens new ones
//	duiwu receipt   print what became of a batch
//	duiwu balance   print the balance of every feed
//	duiwu ledger    accept a gap or a topic that was made anew
//	duiwu quarantine  list, explain and replay what was refused
//	duiwu replay    read a span of a topic again
//	duiwu worklist  list and decide what no stream can tell: one person or two
//	duiwu publish   keep a month's figures for good; approve, reopen, compare
//	duiwu erase     take a record out of the tables for good
//	duiwu doctor    look for what is wrong, and say what to do about it
//	duiwu probe     send a record down the whole path and read back what became of it
//	duiwu version   print what this binary was built from
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// command is one subcommand. run gets the arguments after its name.
type command struct {
	name, args, what string
	run              func(ctx context.Context, env *environment, args []string) error
}

// environment is the process as a command sees it.
type environment struct {
	stdout, stderr io.Writer
	getenv         func(string) string
}

var commands = []command{
	{"worker", "[flags]", "read the units' topics, transform, write to ClickHouse", runWorker},
	{"gateway", "[flags]", "take files over HTTPS, and serve the clerks' page", runGateway},
	{"migrate", "[flags]", "create or widen the tables; never loses data", runMigrate},
	{"show", "ddl|schema|docs|feeds|rules|grants", "print what the feed files give", runShow},
	{"check", "[DIR] | FILE ... | TEST.txtar", "check a file of records, feed files, or tests", runCheck},
	{"map", "--suggest FILE --feed FEED", "propose which column is which field", runMap},
	{"template", "--feed FEED [--out FILE]", "write the XLSX template of a feed", runTemplate},
	{"push", "FILE... --feed F --profile P", "send files of records and follow their receipts", runPush},
	{"keys", "new record|seal|token | rotate", "make keys; give the tables' tokens new ones", runKeys},
	{"receipt", "[flags] UNIT FEED BATCH", "print what became of a batch", runReceipt},
	{"balance", "[flags]", "print the balance of every feed; exit 1 when one does not hold", runBalance},
	{"ledger", "[flags] skip|new-topic TOPIC ...", "accept a gap or a topic that was made anew", runLedger},
	{"quarantine", "list|explain|replay [flags]", "what was refused, why, and what to do about it", runQuarantine},
	{"replay", "--topic T --partition P --from N --to N", "read a span of a topic again", runReplay},
	{"worklist", "list|show|decide [flags]", "one person or two? what no stream can tell, for a steward", runWorklist},
	{"publish", "MONTH | approve|reopen|list|show", "keep a month's figures for good", runPublish},
	{"erase", "--unit U --feed F --record-id ID", "take a record out of the tables for good", runErase},
	{"doctor", "[flags]", "look for what is wrong, and say what to do about it", runDoctor},
	{"probe", "[flags]", "send a record through it all; read what became of it", runProbe},
	{"version", "[--json]", "print what this binary was built from", runVersion},
}

// errUsage ends the process with status 2; its text was already printed.
var errUsage = errors.New("usage")

// errNotSent ends the process with status 2 and no further text.
var errNotSent = errors.New("not sent")

// errFindings ends the process with status 1 and no further text.
var errFindings = errors.New("findings")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env := &environment{stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	err := run(ctx, env, os.Args[1:])
	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		os.Exit(2)
	case errors.Is(err, errFindings):
		os.Exit(1)
	case errors.Is(err, errBlind):
		fmt.Fprintln(os.Stderr, "duiwu:", err)
		os.Exit(2)
	case errors.Is(err, errNotSent):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "duiwu:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, env *environment, args []string) error {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		usage(env.stdout)
		return nil
	}
	for _, c := range commands {
		if c.name == args[0] {
			return c.run(ctx, env, args[1:])
		}
	}
	fmt.Fprintf(env.stderr, "duiwu: no command %q\n\n", args[0])
	usage(env.stderr)
	return errUsage
}

func usage(w io.Writer) {
	fmt.Fprint(w, "duiwu joins the feeds of the reporting units into one set of national figures.\n\nCommands:\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  duiwu %-10s %-39s %s\n", c.name, c.args, c.what)
	}
	fmt.Fprint(w, "\nEvery flag can also be set in the environment: --kafka as DUIWU_KAFKA, --token-keys as DUIWU_TOKEN_KEYS.\n`duiwu COMMAND -h` lists a command's flags.\n")
}

// flags makes a flag set whose values may also come from the environment:
// --token-keys from DUIWU_TOKEN_KEYS. The command line wins.
func (e *environment) flags(name, args string) *flag.FlagSet {
	fs := flag.NewFlagSet("duiwu "+name, flag.ContinueOnError)
	fs.SetOutput(e.stderr)
	fs.Usage = func() {
		fmt.Fprintf(e.stderr, "Usage: duiwu %s %s\n", name, args)
		fs.PrintDefaults()
	}
	return fs
}

// parse reads the environment, then the command line. Arguments that are no
// flags are returned; fewer than least or more than most is a usage error.
func (e *environment) parse(fs *flag.FlagSet, args []string, least, most int) ([]string, error) {
	var bad error
	fs.VisitAll(func(f *flag.Flag) {
		name := "DUIWU_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if v := e.getenv(name); v != "" && bad == nil {
			if err := f.Value.Set(v); err != nil {
				bad = fmt.Errorf("%s: %w", name, err)
			}
		}
	})
	if bad != nil {
		return nil, bad
	}
	if err := fs.Parse(args); err != nil {
		return nil, errUsage // flag has printed why
	}
	if n := fs.NArg(); n < least || n > most {
		fs.Usage()
		return nil, errUsage
	}
	return fs.Args(), nil
}

// parseMixed is parse with arguments allowed before and between flags:
// check FILE --feed worker.
func (e *environment) parseMixed(fs *flag.FlagSet, args []string, least, most int) ([]string, error) {
	more, err := e.parse(fs, args, 0, len(args))
	if err != nil {
		return nil, err
	}
	var rest []string
	for len(more) > 0 {
		rest = append(rest, more[0])
		// The environment was read above and must not win over a flag of before.
		if err := fs.Parse(more[1:]); err != nil {
			return nil, errUsage // flag has printed why
		}
		more = fs.Args()
	}
	if n := len(rest); n < least || n > most {
		fs.Usage()
		return nil, errUsage
	}
	return rest, nil
}

// logger writes one JSON object a line.
func (e *environment) logger(level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q: use debug, info, warn or error", level)
	}
	return slog.New(slog.NewJSONHandler(e.stderr, &slog.HandlerOptions{Level: l})), nil
}
