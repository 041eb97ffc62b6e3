package admin_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/pipeline/run"
)

const planted = "correct-horse-battery-staple"

// paths are all that the server answers at, and some that it does not.
var paths = []string{
	"/", "/page.js", "/page.css", "/icon.svg", "/metrics", "/api/graph", "/api/status", "/api/metrics", "/api/history", "/api/version",
	"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/nothing", "/api", "/healthz/", "/healthz/x", "/readyz/../api/status", "//healthz", "/HEALTHZ",
}

func TestProtect(t *testing.T) {
	s := server(t, twoTasks())
	s.Protect(planted)
	ask := func(method, path, authorization string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, path, nil)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		s.Handler().ServeHTTP(w, r)
		return w
	}
	basic := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	for _, refused := range []string{
		"", "Bearer", "Bearer ", planted, "Bearer x" + planted, "Bearer " + planted + "x", "Bearer " + planted[:len(planted)-1], "Bearer " + strings.ToUpper(planted),
		"Token " + planted, basic(planted, ""), basic("", ""), basic("", planted+"x"), "Basic " + planted,
	} {
		for _, path := range paths {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				w := ask(method, path, refused)
				if w.Code != http.StatusUnauthorized {
					t.Errorf("%s %s with %q: %d, expected 401", method, path, refused, w.Code)
				}
				if got := w.Header().Values("WWW-Authenticate"); len(got) != 2 || !strings.HasPrefix(got[0], "Bearer ") || !strings.HasPrefix(got[1], "Basic ") {
					t.Errorf("%s %s: WWW-Authenticate %q", method, path, got)
				}
				for _, secret := range []string{planted, "flights", "1.2.3"} {
					if strings.Contains(w.Body.String(), secret) {
						t.Errorf("%s %s tells %q: %s", method, path, secret, w.Body)
					}
				}
			}
		}
		for path, code := range map[string]int{"/healthz": 200, "/readyz": 200} {
			if w := ask(http.MethodGet, path, refused); w.Code != code {
				t.Errorf("%s with %q: %d, expected %d", path, refused, w.Code, code)
			}
		}
		if w := ask(http.MethodPost, "/api/status", refused); w.Code != http.StatusMethodNotAllowed && w.Code != http.StatusUnauthorized {
			t.Errorf("POST: %d", w.Code)
		}
	}
	for _, granted := range []string{"Bearer " + planted, "bearer " + planted, basic("", planted), basic("anyone", planted)} {
		for _, path := range []string{"/", "/page.js", "/metrics", "/api/status", "/debug/pprof/"} {
			if w := ask(http.MethodGet, path, granted); w.Code != http.StatusOK {
				t.Errorf("%s with %q: %d, expected 200", path, granted, w.Code)
			} else if strings.Contains(w.Body.String(), planted) {
				t.Errorf("%s shows the token", path)
			}
		}
		if w := ask(http.MethodGet, "/nothing", granted); w.Code != http.StatusNotFound {
			t.Errorf("/nothing with %q: %d, expected 404", granted, w.Code)
		}
	}
}

// TestHealthNamesNothing: without the token a sick process does not say what is
// wrong with what.
func TestHealthNamesNothing(t *testing.T) {
	sick := &tasks{{Task: 3, Phase: run.Failed.String()}}
	s := server(t, sick)
	s.Protect(planted)
	for _, path := range []string{"/healthz", "/readyz"} {
		code, _, body := get(s, http.MethodGet, path)
		if code != http.StatusServiceUnavailable || strings.Contains(body, "reasons") || strings.Contains(body, "flights") {
			t.Errorf("%s: %d %s", path, code, body)
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer "+planted)
		s.Handler().ServeHTTP(w, r)
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "flights") {
			t.Errorf("%s with the token: %d %s", path, w.Code, w.Body)
		}
	}
}
