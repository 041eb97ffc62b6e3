package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// MinToken is the least length of a token: shorter ones can be guessed.
const MinToken = 16

// Protect makes the server answer only requests that bring the token, with 401 to
// others, except at /healthz and /readyz, which then say no more than how it is.
// The token comes as Authorization: Bearer TOKEN; or, since that is what browsers
// ask their users for and keep for as long as they run, as the password of Basic
// authentication, under any name. It must be called before anything is served.
func (s *Server) Protect(token string) {
	sum := sha256.Sum256([]byte(token))
	s.token = &sum
}

// Paths that orchestrators ask without a token.
func open(path string) bool { return path == "/healthz" || path == "/readyz" }

// allowed reports whether a request may see everything. Hashes are compared, and in
// constant time: how long it takes tells nothing of the token, its length included.
func (s *Server) allowed(r *http.Request) bool {
	if s.token == nil {
		return true
	}
	given := ""
	if scheme, rest, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		given = strings.TrimSpace(rest)
	} else if _, password, ok := r.BasicAuth(); ok {
		given = password
	}
	sum := sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(sum[:], s.token[:]) == 1
}

// doorman is behind guard and in front of every route.
func (s *Server) doorman(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !open(r.URL.Path) && !s.allowed(r) {
			w.Header().Add("WWW-Authenticate", `Bearer realm="gradstream"`)
			w.Header().Add("WWW-Authenticate", `Basic realm="gradstream", charset="UTF-8"`)
			fail(w, http.StatusUnauthorized, "a token is needed, as Authorization: Bearer TOKEN, or as the password in a browser")
			return
		}
		next.ServeHTTP(w, r)
	})
}
