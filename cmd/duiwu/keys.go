package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/duiwu/duiwu/ingest/seal"
)

// runKeys makes keys. A key never passes through the command line or the
// terminal: it goes to a new file that only its owner reads.
func runKeys(ctx context.Context, env *environment, args []string) error {
	if len(args) > 0 && args[0] == "rotate" {
		return runRotate(ctx, env, args[1:])
	}
	const use = "new record --out FILE | new seal --out SECRET-FILE --public PUBLIC-FILE | new token --out FILE [--after OLD-FILE] | rotate [flags]"
	fs := env.flags("keys", use)
	out := fs.String("out", "", "file to write the secret to; it must not exist yet")
	public := fs.String("public", "", "file to write the public key to, for the units; it must not exist yet")
	after := fs.String("after", "", "file of the token keys that the new one follows")
	rest, err := env.parseMixed(fs, args, 2, 2)
	if err != nil {
		return err
	}
	if rest[0] != "new" || *out == "" || rest[1] != "record" && rest[1] != "seal" && rest[1] != "token" || (rest[1] == "seal") != (*public != "") || *after != "" && rest[1] != "token" {
		fs.Usage()
		return errUsage
	}
	if rest[1] == "token" {
		return newToken(env, *out, *after)
	}
	if rest[1] == "record" {
		key := make([]byte, 32)
		_, _ = rand.Read(key) // it never fails
		text := "# duiwu record key: ids of records without a number are made with it.\n# Keep it for ever and to yourselves: with another key every record becomes a new one.\n" + hex.EncodeToString(key) + "\n"
		if err := create(*out, text, 0o600); err != nil {
			return err
		}
		_, err = fmt.Fprintf(env.stdout, "记录号密钥已写入 %s：请妥善备份，永远只用这一个。\nThe record key is in %s: back it up; the unit uses this one for ever.\n", *out, *out)
		return err
	}
	id, secret, pub, err := seal.New()
	if err != nil {
		return err
	}
	if err := create(*out, "# duiwu sealing key "+id+": secret, only the workers read it (--seal-keys).\n"+secret, 0o600); err != nil {
		return err
	}
	if err := create(*public, "# duiwu sealing key "+id+": public, for the units' profiles (seal_key).\n"+pub, 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.stdout, "密封密钥 %s：私钥在 %s（只给 worker），公钥在 %s（发给各单位）。\nSealing key %s: the secret is in %s (for the workers alone), the public key in %s (for the units).\n", id, *out, *public, id, *out, *public)
	return err
}

// create writes a file that does not exist yet.
func create(path, text string, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("cannot write %s: it exists, and a key is never written over; name another file", path)
	}
	if err != nil {
		return fmt.Errorf("cannot write a key: %w", err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("cannot write a key: %w", err)
	}
	return nil
}

// readRecordKey reads a unit's key for record ids; errors name the file only.
func readRecordKey(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the record key: %w", err)
	}
	var key []byte
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		b, err := hex.DecodeString(line)
		if err != nil || len(b) != 32 || key != nil {
			return nil, fmt.Errorf("record key %s: want one line of 64 hexadecimal digits; duiwu keys new record makes one", path)
		}
		key = b
	}
	if key == nil {
		return nil, fmt.Errorf("record key %s holds no key; duiwu keys new record makes one", path)
	}
	return key, nil
}

// readPublicKey reads the national public key.
func readPublicKey(path string) (*seal.PublicKey, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the national public key: %w", err)
	}
	key, err := seal.ReadPublic(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// readSealKeys reads the worker's sealing keys.
func readSealKeys(path string) (*seal.Ring, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read --seal-keys: %w", err)
	}
	ring, err := seal.ReadRing(raw)
	if err != nil {
		return nil, fmt.Errorf("--seal-keys %s: %w", path, err)
	}
	return ring, nil
}
