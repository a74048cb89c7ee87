package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/duiwu/duiwu/ingest/sheet"
)

// runMap proposes a mapping of a file's columns to a feed's fields.
func runMap(ctx context.Context, env *environment, args []string) error {
	flags := env.flags("map", "--suggest FILE [--feed FEED] [--unit UNIT] [--out mapping.yaml]")
	suggest := flags.Bool("suggest", false, "propose a mapping from the file's headings and values")
	name := flags.String("feed", "", "feed that the file is of, such as worker; empty means the one that fits, if only one does")
	unit := flags.String("unit", "", "reporting unit, such as 310000")
	out := flags.String("out", "", "file to write; empty means standard output")
	dir := flags.String("feeds", "", "folder of feed files; empty means those inside the binary")
	rest, err := env.parseMixed(flags, args, 1, 1)
	if err != nil {
		return err
	}
	if !*suggest {
		fmt.Fprintln(env.stderr, "请写 --suggest。 Write --suggest.")
		flags.Usage()
		return errUsage
	}
	cat, err := catalogue(*dir)
	if err != nil {
		return err
	}
	spec := cat.Feed(*name)
	if *name == "" {
		var sure bool
		if spec, sure, err = sheet.Recognize(ctx, rest[0], cat); err != nil {
			return mapTrouble(env, err)
		}
		if !sure {
			fmt.Fprintf(env.stderr, "duiwu: 看不出是哪一类数据，请写 --feed。 It is not plain which feed the file is of; write --feed with one of %s\n", strings.Join(feedNames(cat), ", "))
			return errUsage
		}
	}
	if spec == nil {
		fmt.Fprintf(env.stderr, "duiwu: 没有数据类别 no feed %q; the feeds are %s\n", *name, strings.Join(feedNames(cat), ", "))
		return errUsage
	}
	if *unit != "" && cat.Unit(*unit) == nil {
		fmt.Fprintf(env.stderr, "duiwu: 没有报送单位 no reporting unit %q\n", *unit)
		return errUsage
	}
	var text bytes.Buffer
	file, err := sheet.Open(rest[0])
	if err == nil {
		err = errors.Join(sheet.Suggest(ctx, &text, file, cat, spec, *unit), file.Close())
	}
	if err != nil {
		return mapTrouble(env, err)
	}
	if *out == "" {
		_, err = env.stdout.Write(text.Bytes())
		return err
	}
	// A mapping that somebody has worked on is not written over.
	f, err := os.OpenFile(*out, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("cannot write the mapping: %w", err)
	}
	_, err = f.Write(text.Bytes())
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.stdout, "已写出 %s，请逐条核对。 Wrote %s; read every line of it.\n", *out, *out)
	return err
}

// mapTrouble tells what is wrong with a file that cannot be read as a table.
func mapTrouble(env *environment, err error) error {
	var u *sheet.Unusable
	if errors.As(err, &u) || errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(env.stderr, "duiwu:", err)
		return errUsage
	}
	return err
}
