// Package admin serves what a process tells about its pipelines over HTTP:
// Prometheus metrics, health, a JSON API and a page for people. It only reads:
// nothing can be changed through it.
package admin

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/run"
)

// Status is what the server asks of a worker: its tasks as they stood a moment
// ago, ascending. It may be called from any goroutine.
type Status interface {
	Status() []run.TaskStatus
}

// Server is the HTTP side of a process. It starts empty and not ready; pipelines
// are added as they start.
type Server struct {
	reg     *prometheus.Registry
	version string
	now     func() time.Time
	started time.Time
	log     *slog.Logger
	handler http.Handler
	token   *[sha256.Size]byte // hash of what requests must bring; nil = nothing

	mu        sync.Mutex
	pipelines []*added
	closing   bool
}

// added is a pipeline with the worker that runs it here.
type added struct {
	p       *pipeline.Pipeline
	w       Status
	brokers []string
	graph   graph
	past    *history
}

// New makes a server that exports reg, to which it adds gradstream_build_info.
func New(reg *prometheus.Registry, version string) *Server {
	s := &Server{reg: reg, version: version, now: time.Now, log: slog.New(slog.DiscardHandler)}
	s.started = s.now()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "gradstream_build_info", Help: "1, labelled by what the program was built from.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	info.Set(1)
	reg.MustRegister(info)
	s.handler = s.routes()
	return s
}

// Log makes the server log what goes wrong with connections, at level debug.
func (s *Server) Log(l *slog.Logger) { s.log = l }

// Add shows a pipeline. Brokers are the addresses it was reached at.
func (s *Server) Add(p *pipeline.Pipeline, w Status, brokers []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pipelines = append(s.pipelines, &added{p: p, w: w, brokers: brokers, graph: newGraph(p), past: newHistory()})
}

func (s *Server) all() []*added {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pipelines[:len(s.pipelines):len(s.pipelines)]
}

// Handler returns the routes, for serving them elsewhere.
func (s *Server) Handler() http.Handler { return s.handler }

// How long a client may take.
const (
	headerTimeout = 5 * time.Second
	idleTimeout   = 2 * time.Minute
	graceTimeout  = 3 * time.Second
)

// Serve answers requests on ln until ctx ends, then lets those in progress finish
// for a few seconds. It closes ln. The error is nil after a planned end.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{Handler: s.handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		ReadTimeout: 2 * headerTimeout, WriteTimeout: idleTimeout, MaxHeaderBytes: 64 << 10,
		// What it says is of clients that break off, of port scans mostly.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-served:
			return err
		case <-tick.C:
			s.sample()
		case <-ctx.Done():
			s.mu.Lock()
			s.closing = true
			s.mu.Unlock()
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceTimeout)
			defer cancel()
			if err := srv.Shutdown(grace); err != nil {
				_ = srv.Close()
			}
			if err := <-served; !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		}
	}
}

// routes lists every path.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.InstrumentMetricHandler(s.reg, promhttp.HandlerFor(s.reg, promhttp.HandlerOpts{Registry: s.reg, EnableOpenMetrics: true})))
	mux.HandleFunc("/healthz", s.health)
	mux.HandleFunc("/readyz", s.ready)
	mux.HandleFunc("/api/graph", s.serveGraph)
	mux.HandleFunc("/api/status", s.serveStatus)
	mux.HandleFunc("/api/metrics", s.serveMetrics)
	mux.HandleFunc("/api/history", s.serveHistory)
	mux.HandleFunc("/api/version", s.serveVersion)
	mux.HandleFunc("/debug/pprof/", profiles)
	mux.HandleFunc("/", s.page)
	return guard(s.doorman(mux))
}

// guard is in front of every route: it allows reading only and sets the headers
// that all answers have.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			fail(w, http.StatusMethodNotAllowed, "method "+r.Method+" is not allowed; expected GET or HEAD")
			return
		}
		next.ServeHTTP(w, r)
	})
}
