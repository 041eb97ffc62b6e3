package admin

import (
	"net/http"
	"net/http/pprof"
	"strings"
	"time"
)

// profiles serves the Go runtime's profiles, for go tool pprof.
func profiles(w http.ResponseWriter, r *http.Request) {
	// A profile lasts longer than reading a request may take, and the deadline
	// would end it. Not every writer has one to lift.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	switch strings.TrimPrefix(r.URL.Path, "/debug/pprof/") {
	case "cmdline":
		// Command lines may hold passwords.
		fail(w, http.StatusNotFound, "the command line is not shown")
	case "profile":
		pprof.Profile(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Index(w, r)
	}
}
