package gateway

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"time"

	"github.com/duiwu/duiwu/internal/feed"
)

type session struct {
	Units []sessionUnit `json:"units"`
	Today string        `json:"today"`
	Bytes int64         `json:"max_bytes"`
	Rows  int           `json:"max_rows"`
}

type sessionUnit struct {
	Code  string        `json:"code"`
	Zh    string        `json:"zh"`
	En    string        `json:"en"`
	Feeds []sessionFeed `json:"feeds"`
}

type sessionFeed struct {
	Feed  string `json:"feed"`
	Zh    string `json:"zh"`
	En    string `json:"en"`
	DocZh string `json:"doc_zh"`
	DocEn string `json:"doc_en"`
	DueZh string `json:"due_zh"`
	DueEn string `json:"due_en"`
	// Fields are the columns by their headings.
	Fields []sessionField `json:"fields"`
}

type sessionField struct {
	Name     string `json:"name"`
	Zh       string `json:"zh"`
	En       string `json:"en"`
	Required bool   `json:"required"`
}

// session answers who is signed in and what he may send.
func (c *call) session() error {
	out := session{Today: c.g.opt.Clock().In(feed.Shanghai).Format(time.DateOnly), Bytes: c.g.opt.Limits.Bytes, Rows: c.g.opt.Limits.Rows}
	for _, code := range c.who.units {
		u := c.g.opt.Catalogue.Unit(code)
		one := sessionUnit{Code: u.Code, Zh: u.Zh, En: u.En, Feeds: []sessionFeed{}}
		for _, s := range c.g.opt.Catalogue.Feeds {
			if u.National() && !s.NationalOffice {
				continue
			}
			due := s.DueText()
			f := sessionFeed{Feed: s.Feed, Zh: s.Zh, En: s.En, DocZh: s.Doc.Zh, DocEn: s.Doc.En, DueZh: due.Zh, DueEn: due.En, Fields: []sessionField{}}
			for _, x := range s.All() {
				f.Fields = append(f.Fields, sessionField{x.Name, x.Zh, x.En, x.Required})
			}
			one.Feeds = append(one.Feeds, f)
		}
		out.Units = append(out.Units, one)
	}
	return c.json(http.StatusOK, out)
}

func (c *call) text(status int, s string) error {
	c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	c.w.WriteHeader(status)
	_, _ = c.w.Write([]byte(s)) // whoever hung up needs no answer
	return nil
}

// ready says whether files can be taken in: somebody can sign in, and the spool
// can be written. The database and the broker may be away meanwhile. What is
// missing is for the log; the address asks for no sign-in.
func (c *call) ready() error {
	if t := c.g.opt.Tokens; t != nil {
		if err := t.Ready(c.r.Context()); err != nil {
			c.g.log.Warn("not ready", "error", err)
			return c.text(http.StatusServiceUnavailable, "the issuer's keys are not known\n")
		}
	}
	if err := c.g.batches.writable(); err != nil {
		c.g.log.Warn("not ready", "error", err)
		return c.text(http.StatusServiceUnavailable, "the spool cannot be written\n")
	}
	return c.text(http.StatusOK, "ok\n")
}

// pages serves the clerks' page. It holds nothing that a sign-in would protect.
func (g *Gateway) pages(mux *http.ServeMux) {
	_ = fs.WalkDir(g.page, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		at := "/page/" + name
		if name == "index.html" {
			at = "/{$}"
		}
		mux.HandleFunc("GET "+at, func(w http.ResponseWriter, r *http.Request) {
			b, err := fs.ReadFile(g.page, name)
			if err != nil {
				panic("BUG: an embedded file cannot be read")
			}
			// The files change with the release alone, and the browser asks whether they did.
			w.Header().Set("Cache-Control", "no-cache")
			w.Header().Set("ETag", g.etags[name])
			http.ServeContent(w, r, path.Base(name), time.Time{}, bytes.NewReader(b))
		})
		return nil
	})
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
}

// etags names the content of each of the page's files.
func etags(page fs.FS) map[string]string {
	out := map[string]string{}
	err := fs.WalkDir(page, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(page, name)
		sum := sha256.Sum256(b)
		out[name] = fmt.Sprintf(`"%x"`, sum[:8])
		return err
	})
	if err != nil {
		panic("BUG: the page's files: " + err.Error())
	}
	return out
}
