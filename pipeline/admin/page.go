package admin

import (
	"net/http"

	"github.com/gradstream/gradstream/pipeline/admin/ui"
)

// page serves the embedded page and its parts; anything else does not exist.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	f, ok := ui.Files[r.URL.Path]
	if !ok {
		fail(w, http.StatusNotFound, "nothing is served at "+r.URL.Path)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.Type)
	h.Set("Content-Security-Policy", ui.Policy)
	_, _ = w.Write(f.Data)
}
