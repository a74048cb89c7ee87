// Package viewer serves the dashboards' pages without a Grafana at hand. It has
// no query of its own: the page asks the plugin's backend in process, in the
// form in which it would ask Grafana.
package viewer

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"

	"github.com/duiwu/duiwu/charts/dashboards"
	"github.com/duiwu/duiwu/charts/pkg/plugin"
	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/feed"
)

// Options are what the program decides.
type Options struct {
	// Log takes failures; nil means slog.Default.
	Log *slog.Logger
}

// maxBody bounds a request; a page asks some twenty queries of 200 bytes.
const maxBody = 1 << 20

type server struct {
	ds       *plugin.Datasource
	assets   fs.FS
	log      *slog.Logger
	contract *feed.Catalogue // the names of units
}

// Handler serves the built front end (assets holds index.html at its root) and
// answers its queries from ds. It may serve any number of requests at once and
// owns neither argument.
func Handler(ds *plugin.Datasource, assets fs.FS, opts Options) http.Handler {
	contract, err := feed.Load(feeds.FS)
	if err != nil {
		panic("BUG: the embedded contract cannot be loaded, though the datasource has loaded it: " + err.Error())
	}
	s := &server{ds: ds, assets: assets, log: opts.Log, contract: contract}
	if s.log == nil {
		s.log = slog.Default()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/d/D01", http.StatusFound)
	})
	mux.HandleFunc("GET /d/{page}", s.page)
	mux.HandleFunc("GET /api/dashboards/{lang}/{page}", s.dashboard)
	mux.HandleFunc("GET /assets/", s.asset)
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("POST /api/ds/query", s.query)
	mux.HandleFunc("GET /api/export", s.export)
	mux.HandleFunc("GET /api/ds/health", s.health)
	mux.HandleFunc("GET /api/ds/resources/{path...}", s.resource)
	return secure(mux)
}

// secure keeps the page from asking anybody but this server. ECharts sets styles
// of elements it makes, hence the inline styles.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'self'; base-uri 'none'; form-action 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

func (s *server) page(w http.ResponseWriter, r *http.Request) {
	if _, err := fs.Stat(dashboards.FS, dashboards.File(r.PathValue("page"), "zh")); err != nil {
		http.NotFound(w, r)
		return
	}
	s.file(w, r, "index.html", "no-cache")
}

// dashboard gives the file that Grafana is given.
func (s *server) dashboard(w http.ResponseWriter, r *http.Request) {
	b, err := fs.ReadFile(dashboards.FS, dashboards.File(r.PathValue("page"), r.PathValue("lang")))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(b) // the reader has gone; nobody is left to tell
}

func (s *server) asset(w http.ResponseWriter, r *http.Request) {
	// The names of built files carry their content's hash.
	s.file(w, r, strings.TrimPrefix(path.Clean(r.URL.Path), "/"), "public, max-age=31536000, immutable")
}

func (s *server) file(w http.ResponseWriter, r *http.Request, name, cache string) {
	b, err := fs.ReadFile(s.assets, name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Error("cannot read an asset", "name", name, "error", err)
		}
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", cache)
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(b))
}

// query takes the request of Grafana's /api/ds/query and answers in its form.
func (s *server) query(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Queries []json.RawMessage `json:"queries"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&in); err != nil {
		http.Error(w, "the request is not the JSON of a query", http.StatusBadRequest)
		return
	}
	req := &backend.QueryDataRequest{}
	for _, q := range in.Queries {
		var id struct {
			RefID string `json:"refId"`
		}
		if err := json.Unmarshal(q, &id); err != nil || id.RefID == "" {
			http.Error(w, "a query needs a refId", http.StatusBadRequest)
			return
		}
		req.Queries = append(req.Queries, backend.DataQuery{RefID: id.RefID, JSON: q})
	}
	res, err := s.ds.QueryData(r.Context(), req)
	if err != nil {
		s.log.Error("cannot answer a request", "error", err)
		http.Error(w, "the queries failed", http.StatusBadGateway)
		return
	}
	for id, x := range res.Responses {
		if x.Error != nil && r.Context().Err() == nil {
			s.log.Error("cannot answer a query", "query", id, "error", x.Error)
		}
	}
	s.json(w, res)
}

func (s *server) health(w http.ResponseWriter, r *http.Request) {
	res, err := s.ds.CheckHealth(r.Context(), &backend.CheckHealthRequest{})
	if err != nil {
		s.log.Error("cannot check the database", "error", err)
		http.Error(w, "the check failed", http.StatusBadGateway)
		return
	}
	s.json(w, map[string]any{"status": res.Status.String(), "message": res.Message, "details": json.RawMessage(res.JSONDetails)})
}

func (s *server) resource(w http.ResponseWriter, r *http.Request) {
	u := r.PathValue("path")
	if r.URL.RawQuery != "" {
		u += "?" + r.URL.RawQuery
	}
	req := &backend.CallResourceRequest{Method: http.MethodGet, Path: r.PathValue("path"), URL: u}
	err := s.ds.CallResource(r.Context(), req, backend.CallResourceResponseSenderFunc(func(res *backend.CallResourceResponse) error {
		for k, v := range res.Headers {
			w.Header()[k] = v
		}
		if res.Status != 0 {
			w.WriteHeader(res.Status)
		}
		_, err := io.Copy(w, bytes.NewReader(res.Body))
		return err
	}))
	if err != nil {
		s.log.Error("cannot answer a resource call", "path", r.PathValue("path"), "error", err)
	}
}

func (s *server) json(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		s.log.Error("cannot write an answer", "error", err)
		http.Error(w, "the answer cannot be written", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(b) // the reader has gone; nobody is left to tell
}
