package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/duiwu/duiwu/internal/flow"
)

// siteCount is how many records the file of sites holds.
const siteCount = 2000

func sites() []byte {
	var b bytes.Buffer
	b.WriteString("site_id,site_name,level,status,county_code\n")
	for i := range siteCount {
		fmt.Fprintf(&b, "S-%d,示范点,1,1,310115\n", i)
	}
	return b.Bytes()
}

// unitSide is a cell with tables and without workers, and a folder in which the unit
// has its record key. Who sends for it stamps records by its own clock.
func (b *bench) unitSide(ctx context.Context) (c *cell, dir string, err error) {
	if c, err = b.cell(ctx); err != nil {
		return nil, "", err
	}
	c.clock = time.Now()
	dir = filepath.Join(c.dir, c.name)
	err = errors.Join(c.migrate(ctx), os.MkdirAll(dir, 0o700))
	if err == nil {
		var out string
		if out, err = c.duiwuCommand(ctx, c.database, "keys", "new", "record", "--out", filepath.Join(dir, unit+".key")); err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
	}
	if err != nil {
		c.stop()
	}
	return c, dir, err
}

// sitesOnce notes what is not as it should be when the file of sites is stored.
func (c *cell) sitesOnce(ctx context.Context, r *result) error {
	return errors.Join(
		c.expect(ctx, r, "records", "SELECT count() FROM demo_site FINAL", siteCount),
		c.expect(ctx, r, "versions", "SELECT count() FROM demo_site_history FINAL", siteCount),
		c.expect(ctx, r, "batches", "SELECT uniqExact(batch_id) FROM receipts", 1),
		c.expect(ctx, r, "new by the balance", "SELECT sum(new) FROM balance", siteCount),
		c.expect(ctx, r, "records that are neither new nor a duplicate", "SELECT sum(received - new - duplicate) FROM balance", 0),
	)
}

// client is a unit's program in front of a gateway.
type client struct{ batches, token string }

const issuer, audience = "https://issuer.example", "duiwu"

// gateway starts a gateway as the cell's next worker, and gives the program that
// sends it files. The folder holds the unit's record key.
func (c *cell) gateway(dir string) (*client, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Use: "sig"}}})
	if err != nil {
		return nil, err
	}
	jwks := filepath.Join(dir, "jwks.json")
	if err := os.WriteFile(jwks, keys, 0o600); err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "k"))
	if err != nil {
		return nil, err
	}
	// The gateway's clock may jump by days.
	token, err := jwt.Signed(signer).Claims(map[string]any{"iss": issuer, "aud": audience, "sub": "a program", "units": unit, "exp": time.Now().Add(10 * day).Unix()}).Serialize()
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	n := len(c.workers)
	w := &worker{c: c, n: n, addr: fmt.Sprintf("127.0.0.1:%d", port)}
	w.args = []string{
		"gateway", "--kafka", c.wires[n].kafka.addr(), "--prefix", "duiwu." + c.name, "--listen", w.addr, "--issuer", issuer, "--audience", audience,
		"--jwks", jwks, "--spool", filepath.Join(dir, "spool"), "--record-keys", dir, "--rate", "100", "--burst", "100",
	}
	return &client{batches: "http://" + w.addr + "/v1/units/" + unit + "/feeds/demo_site/batches", token: token}, c.run(w)
}

// ask makes one request and returns the body of an answer that is as it should be.
func (u *client) ask(ctx context.Context, method, url string, body io.Reader, headers ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+u.token)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s", res.Status, answer)
	}
	return answer, err
}

// deliver sends the file until it is taken in.
func (u *client) deliver(ctx context.Context, id string) error {
	return again(ctx, bound, func() error {
		_, err := u.ask(ctx, http.MethodPost, u.batches+"?as_of=2016-11-30", bytes.NewReader(sites()), "Idempotency-Key", id, "Content-Type", "text/csv")
		return err
	})
}

// runDelivery makes one fault while a gateway passes on what a unit gave it, and lets
// a worker read what came: the file is stored once, and its receipt says so.
func (b *bench) runDelivery(ctx context.Context, m moment, f fault) (r result, err error) {
	r = result{Moment: m.says, Fault: f.name}
	c, dir, err := b.unitSide(ctx)
	if err != nil {
		return r, err
	}
	defer c.stop()
	w := b.wires[0].kafka
	sprung := w.arm(trap{moment: produce, side: m.side, nth: 1, do: func() bool { return f.strike(c, w) }})
	u, err := c.gateway(dir)
	if err != nil {
		return r, err
	}
	if err := u.deliver(ctx, "sites"); err != nil {
		return r, fmt.Errorf("the gateway takes nothing in: %w: %s", err, c.workers[0].log)
	}
	healed, err := c.struck(ctx, w, f, sprung)
	if err != nil {
		return r, err
	}
	// The unit, which knows nothing of all this, sends once more.
	if err := u.deliver(ctx, "sites"); err != nil {
		r.Problems = append(r.Problems, "the gateway does not know the batch any more: "+err.Error())
	}
	if _, err := c.work(); err != nil {
		return r, err
	}
	if err := again(ctx, bound, func() error {
		var have flow.Receipt
		answer, err := u.ask(ctx, http.MethodGet, u.batches+"/sites", http.NoBody)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(answer, &have); err != nil {
			return err
		}
		if have.Status != flow.Complete || have.Received < siteCount {
			return fmt.Errorf("the receipt says %s", strings.TrimSpace(string(answer)))
		}
		return nil
	}); err != nil {
		r.Problems = append(r.Problems, err.Error())
		return r, nil
	}
	r.Recovery = time.Since(healed)
	r.Saw = c.saw()
	return r, c.sitesOnce(ctx, &r)
}
