package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/gradstream/gradstream/internal/testutil/realkafka"
	"github.com/gradstream/gradstream/internal/testutil/testcert"
)

// The secrets of the tests, which nothing may print.
const (
	plantedPassword = "correct-horse-battery-staple"
	plantedToken    = "twenty-four-hundred-and-one"
)

// TestListenRefusals: a listener beyond this machine needs a token.
func TestListenRefusals(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token, short := file("token", plantedToken+"\n"), file("short", "abc\n")
	pair := testcert.NewCA(t, "authority").Issue(t, "server", time.Now().Add(time.Hour))
	for _, test := range []struct {
		addr string
		o    listenOptions
		env  string // the variable; "-" = not set
		want string // in the error; "" = it is opened
	}{
		{"127.0.0.1:0", listenOptions{}, "-", ""},
		{"localhost:0", listenOptions{}, "-", ""},
		{"[::1]:0", listenOptions{}, "-", ""},
		{"0.0.0.0:0", listenOptions{}, "-", "needs a token: give --listen-token-file FILE or set GRADSTREAM_HTTP_TOKEN; or"},
		{":0", listenOptions{}, "-", "needs a token"},
		{"[::]:0", listenOptions{}, "-", "needs a token"},
		{"some-host:0", listenOptions{}, "-", "needs a token"},
		{"0.0.0.0:0", listenOptions{cert: pair.Cert, key: pair.Key}, "-", "needs a token"},
		{"0.0.0.0:0", listenOptions{insecure: true}, "-", ""},
		{"0.0.0.0:0", listenOptions{tokenFile: token}, "-", ""},
		{"0.0.0.0:0", listenOptions{}, plantedToken, ""},
		{"0.0.0.0:0", listenOptions{}, "", "GRADSTREAM_HTTP_TOKEN: the token has 0 characters; expected 16 or more"},
		{"127.0.0.1:0", listenOptions{}, "secret word", "GRADSTREAM_HTTP_TOKEN: the token has 11 characters"},
		{"127.0.0.1:0", listenOptions{}, "secret words with spaces", "characters that no header can carry"},
		{"127.0.0.1:0", listenOptions{tokenFile: short}, plantedToken, "--listen-token-file " + short + ": the token has 3 characters"},
		{"127.0.0.1:0", listenOptions{tokenFile: dir + "/none"}, "-", "there is no file " + dir + "/none"},
		{"127.0.0.1:0", listenOptions{cert: pair.Cert}, "-", "--listen-cert and --listen-key are given together"},
		{"127.0.0.1:0", listenOptions{cert: pair.Cert, key: pair.Cert}, "-", "--listen-cert: "},
		{"127.0.0.1:0", listenOptions{cert: pair.Cert, key: pair.Key}, "-", ""},
		{"127.0.0.1", listenOptions{}, "-", "expected HOST:PORT"},
	} {
		var log bytes.Buffer
		a := &app{out: io.Discard, err: &log, logFormat: "text", logLevel: "info", http: test.o}
		a.http.lookup = func(string) (string, bool) { return test.env, test.env != "-" }
		if err := a.openLog(); err != nil {
			t.Fatal(err)
		}
		ln, err := a.listen(test.addr, true)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("--listen %s %+v: %v", test.addr, test.o, err)
		case test.want == "":
			_ = ln.Close()
			clear := strings.HasPrefix(test.addr, "0.") && a.token != "" && test.o.cert == ""
			if warned := strings.Contains(log.String(), "unencrypted"); warned != clear {
				t.Errorf("--listen %s %+v: warned %v:\n%s", test.addr, test.o, warned, log.String())
			}
		case err == nil:
			_ = ln.Close()
			t.Errorf("--listen %s %+v is opened", test.addr, test.o)
		default:
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("--listen %s: %v, expected %s", test.addr, err, test.want)
			}
			if input := (inputError{}); !asInput(err, &input) {
				t.Errorf("--listen %s: exit code is not 2: %v", test.addr, err)
			}
		}
		if text := fmt.Sprint(err) + log.String(); strings.Contains(text, plantedToken) || strings.Contains(text, "secret word") {
			t.Errorf("--listen %s shows the token: %s", test.addr, text)
		}
	}
}

// TestLateCertificate: of several pipelines none runs where one has a certificate
// that has expired.
func TestLateCertificate(t *testing.T) {
	t.Chdir(t.TempDir())
	late := testcert.NewCA(t, "authority").Issue(t, "worker", time.Now().Add(-time.Hour))
	for name, kafka := range map[string]string{"first": "{brokers: embedded}", "second": fmt.Sprintf("{brokers: '127.0.0.1:1', tls: {cert: %s, key: %s}}", late.Cert, late.Key)} {
		text := fmt.Sprintf("pipeline: %s\nkafka: %s\nsources: {in: {topic: in, schema: {id: string}}}\nsinks: {out: {from: in, topic: out}}\n", name, kafka)
		if err := os.WriteFile(name+".yaml", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	code := execute(t.Context(), []string{"run", "first.yaml", "second.yaml", "--listen", ""}, io.Discard, &log)
	if code != exitFailed || !strings.HasPrefix(log.String(), "gradstream: pipeline second: kafka.tls: our certificate "+late.Cert+": expired on ") || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("exit code %d: %s", code, log.String())
	}
	if _, err := os.Stat("data"); err == nil {
		t.Error("the first was run")
	}
}

func asInput(err error, to *inputError) bool {
	i, ok := err.(inputError)
	*to = i
	return ok
}

// TestHTTPS scans the ports of a running process as a stranger would, over HTTPS.
func TestHTTPS(t *testing.T) {
	ca := testcert.NewCA(t, "authority")
	pair := ca.Issue(t, "server", time.Now().Add(time.Hour))
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(plantedToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := launch(t, []string{"KAFKA_BROKERS=embedded", "STATE_DIR=" + t.TempDir()}, "run", flightsFile,
		"--listen", "0.0.0.0:0", "--listen-token-file", token, "--listen-cert", pair.Cert, "--listen-key", pair.Key)
	_, port, err := net.SplitHostPort(p.waitLog(`url=https://(\S+)`)[1])
	if err != nil {
		t.Fatal(err)
	}
	p.waitLog(`pipeline starts`)
	pool := x509.NewCertPool()
	pem, err := os.ReadFile(ca.File)
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	var seen bytes.Buffer
	ask := func(path, authorization string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://127.0.0.1:"+port+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(&seen, resp.Body)
		return resp.StatusCode
	}
	for _, path := range []string{"/", "/page.js", "/metrics", "/api/status", "/api/graph", "/api/metrics", "/api/history", "/api/version", "/api/", "/debug/pprof/", "/debug/pprof/heap",
		"/debug/pprof/cmdline", "/debug/pprof/profile?seconds=1", "/.env", "/admin", "/healthz/", "/healthz/x", "/readyz/../metrics", "//metrics", "/HEALTHZ"} {
		if code := ask(path, ""); code != http.StatusUnauthorized {
			t.Errorf("%s without the token: %d", path, code)
		}
		if code := ask(path, "Bearer "+plantedToken[1:]); code != http.StatusUnauthorized {
			t.Errorf("%s with another token: %d", path, code)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if code := ask(path, ""); code != http.StatusOK && code != http.StatusServiceUnavailable {
			t.Errorf("%s: %d", path, code)
		}
	}
	for _, path := range []string{"/", "/metrics", "/api/status", "/api/graph"} {
		if code := ask(path, "Bearer "+plantedToken); code != http.StatusOK {
			t.Errorf("%s with the token: %d", path, code)
		}
	}
	if resp, err := http.Get("http://127.0.0.1:" + port + "/healthz"); err == nil { // plain text gets an answer that says so
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("plain HTTP: %s", resp.Status)
		}
		_ = resp.Body.Close()
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if text := seen.String() + p.log.String(); strings.Contains(text, plantedToken) {
		t.Error("the token shows up")
	}
	if strings.Contains(p.log.String(), "TLS handshake") {
		t.Errorf("the log tells of clients that broke off:\n%s", p.log.String())
	}
}

// TestACLs gives a user what gradstream topics --acls lists and runs a pipeline as
// it, on a broker with an authorizer; then it takes one permission after the other
// away.
func TestACLs(t *testing.T) {
	ca := testcert.NewCA(t, "authority")
	pair, old := ca.Issue(t, "broker", time.Now().Add(time.Hour)), ca.Issue(t, "old-broker", time.Now().Add(-time.Hour))
	opts, at := realkafka.WithListeners(t, realkafka.Options{Properties: realkafka.Authorizer},
		realkafka.Listener{Name: "LOGIN", Protocol: "SASL_SSL", Properties: map[string]string{
			"ssl.keystore.type": "PEM", "ssl.keystore.location": pair.Both,
			"sasl.enabled.mechanisms":                   "PLAIN",
			"plain.sasl.jaas.config":                    `org.apache.kafka.common.security.plain.PlainLoginModule required user_app="` + plantedPassword + `" user_player="` + plantedPassword + `" user_nobody="` + plantedPassword + `";`,
			"connection.failed.authentication.delay.ms": "0",
		}},
		realkafka.Listener{Name: "OLD", Protocol: "SSL", Properties: map[string]string{"ssl.keystore.type": "PEM", "ssl.keystore.location": old.Both}})
	k := realkafka.Start(t, opts)
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte(plantedPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	login := func(user string) []string {
		return []string{"kafka.tls.ca=" + ca.File, `kafka.sasl={plain: {user: ` + user + `, password: "${KAFKA_PASSWORD}"}}`}
	}
	app := newTrial(t, "guarded", "guarded.in", at["LOGIN"], append(login("app"), "tasks=2")...)
	player := newTrial(t, "guarded", "guarded.in", at["LOGIN"], append(login("player"), "tasks=2")...)
	admin := newTrial(t, "guarded", "guarded.in", k.Addrs()[0], "tasks=2")
	t.Setenv("KAFKA_PASSWORD", plantedPassword) // of the processes
	var seen bytes.Buffer                       // all that was printed

	adm := admin.admin()
	script := app.do("topics --acls --principal User:app")
	seen.WriteString(script)
	granted := runACLs(t, k, script)
	playing := strings.ReplaceAll(script[strings.Index(script, "# The user of gradstream produce"):], "\n# kafka-acls.sh", "\nkafka-acls.sh")
	runACLs(t, k, strings.ReplaceAll(playing, "User:app", "User:player"))
	if want := 11; len(granted) < want {
		t.Fatalf("only %d permissions of %d or more:\n%s", len(granted), want, script)
	}

	// The source is an administrator's; the rest is made by run.
	resp, err := adm.CreateTopics(t.Context(), 2, 1, nil, "guarded.in")
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	head := filepath.Join(t.TempDir(), "head.csv")
	headOfFlights(t, head, 3000)
	seen.WriteString(player.do("produce", "--source", "flights", "--input", head))
	p := app.run()
	app.waitCommitted(adm, p, 3000)
	url := p.waitLog(`url=(http://\S+)`)[1]
	for _, path := range []string{"/metrics", "/api/status", "/api/graph", "/api/metrics", "/api/history", "/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline"} {
		resp, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(&seen, resp.Body)
		_ = resp.Body.Close()
	}
	if code := p.stop(); code != 0 {
		t.Fatalf("exit code %d after SIGTERM", code)
	}
	seen.WriteString(p.log.String())

	fails := func(t *testing.T, f *trial, want ...string) {
		t.Helper()
		p := f.run()
		if code := p.wait(); code != exitFailed {
			t.Errorf("exit code %d, expected %d", code, exitFailed)
		}
		log := p.log.String()
		seen.WriteString(log)
		var said []string
		for _, line := range strings.Split(strings.TrimSpace(log), "\n") {
			if strings.HasPrefix(line, "gradstream: ") {
				said = append(said, line)
			} else if strings.Contains(line, "level=ERROR") || strings.Contains(line, "level=WARN") {
				t.Log(line)
			}
		}
		if len(said) != 1 || strings.Count(log, "\n") > 12 {
			t.Errorf("not one line but %d, of %d in the log:\n%s", len(said), strings.Count(log, "\n"), log)
			return
		}
		t.Log(said[0])
		for _, text := range want {
			if !strings.Contains(said[0], text) {
				t.Errorf("the message lacks %q", text)
			}
		}
	}
	for _, g := range granted {
		if g.operation == "Create" || g.name == "guarded.errors" || // nothing to create, and nothing was rejected
			(g.name == "guarded.predictions" || g.name == "guarded.metrics") && g.operation == "Read" || // without it there is a warning
			g.name == "guarded.state" && g.operation == "Read" || g.operation == "Delete" { // only a worker that lacks local state reads it, only old records are deleted
			continue
		}
		t.Run("without "+g.operation+" on "+g.name, func(t *testing.T) {
			g.remove(t, adm)
			defer g.add(t, adm)
			// Something to do, or nothing would be written.
			second := *player
			second.t = t
			seen.WriteString(second.do("produce", "--source", "flights", "--input", head))
			third := *app
			third.t = t
			fails(t, &third, strings.TrimSuffix(g.name, "/"), "AUTHORIZATION_FAILED", "gradstream topics FILE --acls")
		})
	}
	t.Run("without Create", func(t *testing.T) {
		f := newTrial(t, "fresh", "guarded.in", at["LOGIN"], append(login("app"), "tasks=2")...)
		for _, g := range runACLs(t, k, f.do("topics --acls --principal User:app")) {
			if g.operation == "Create" && g.name == "fresh.predictions" {
				g.remove(t, adm)
			}
		}
		fails(t, f, "creating topic fresh.predictions", "TOPIC_AUTHORIZATION_FAILED")
	})
	t.Run("nobody", func(t *testing.T) {
		f := newTrial(t, "guarded", "guarded.in", at["LOGIN"], append(login("nobody"), "tasks=2")...)
		fails(t, f, "guarded", "TOPIC_AUTHORIZATION_FAILED", "--acls")
	})
	t.Run("wrong password", func(t *testing.T) {
		f := newTrial(t, "guarded", "guarded.in", at["LOGIN"], append(login("app"), "tasks=2")...)
		t.Setenv("KAFKA_PASSWORD", "not-"+plantedPassword)
		fails(t, f, "pipeline guarded", at["LOGIN"], "SASL PLAIN as app", "SASL_AUTHENTICATION_FAILED", "check user and password")
	})
	t.Run("expired certificate", func(t *testing.T) {
		f := newTrial(t, "guarded", "guarded.in", at["OLD"], "tasks=2", "kafka.tls.ca="+ca.File)
		fails(t, f, "TLS with "+at["OLD"], "certificate has expired", "renew it on the brokers")
	})
	t.Run("expired certificate of ours", func(t *testing.T) {
		late := ca.Issue(t, "late", time.Now().Add(-time.Hour))
		f := newTrial(t, "guarded", "guarded.in", at["LOGIN"], append(login("app"), "tasks=2", "kafka.tls.cert="+late.Cert, "kafka.tls.key="+late.Key)...)
		fails(t, f, "our certificate "+late.Cert+": expired on ")
	})
	t.Run("no authority", func(t *testing.T) {
		f := newTrial(t, "guarded", "guarded.in", at["LOGIN"], "tasks=2", "kafka.tls=true", "kafka.sasl={plain: {user: app, password_file: '"+secret+"'}}")
		fails(t, f, at["LOGIN"], "unknown authority", "kafka.tls.ca")
	})
	t.Run("written down", func(t *testing.T) {
		f := newTrial(t, "guarded", "guarded.in", at["LOGIN"], "kafka.sasl={plain: {user: app, password: "+plantedPassword+"}}")
		p := f.run()
		if code := p.wait(); code != exitInput || !strings.Contains(p.log.String(), "password is written into the file") {
			t.Errorf("exit code %d:\n%s", code, p.log.String())
		}
		seen.WriteString(p.log.String())
	})
	t.Run("password file", func(t *testing.T) {
		f := newTrial(t, "guarded", "guarded.in", at["LOGIN"], "kafka.tls.ca="+ca.File, "kafka.sasl={plain: {user: app, password_file: '"+secret+"'}}")
		seen.WriteString(f.do("topics --dry-run"))
		seen.WriteString(f.do("graph"))
	})
	if i := strings.Index(seen.String(), plantedPassword); i >= 0 {
		t.Errorf("the password shows up: %s", seen.String()[max(0, i-200):min(seen.Len(), i+100)])
	}
}

// grant is one permission of one user.
type grant struct {
	principal, operation, kind, name string
	prefixed                         bool
}

func (g grant) builder(t *testing.T) *kadm.ACLBuilder {
	t.Helper()
	op, ok := map[string]kadm.ACLOperation{"Read": kadm.OpRead, "Write": kadm.OpWrite, "Create": kadm.OpCreate, "Delete": kadm.OpDelete}[g.operation]
	if !ok {
		t.Fatalf("operation %q", g.operation)
	}
	b := kadm.NewACLs().Allow(g.principal).AllowHosts("*").Operations(op)
	switch g.kind {
	case "--topic":
		b = b.Topics(g.name)
	case "--group":
		b = b.Groups(g.name)
	case "--transactional-id":
		b = b.TransactionalIDs(g.name)
	default:
		t.Fatalf("resource %q", g.kind)
	}
	if g.prefixed {
		return b.ResourcePatternType(kadm.ACLPatternPrefixed)
	}
	return b.ResourcePatternType(kadm.ACLPatternLiteral)
}

func (g grant) add(t *testing.T, adm *kadm.Client) {
	t.Helper()
	for _, r := range must(adm.CreateACLs(t.Context(), g.builder(t)))(t) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	g.await(t, adm, 1)
}

func (g grant) remove(t *testing.T, adm *kadm.Client) {
	t.Helper()
	for _, r := range must(adm.DeleteACLs(t.Context(), g.builder(t)))(t) {
		if r.Err != nil || len(r.Deleted) != 1 {
			t.Fatalf("%d deleted: %v", len(r.Deleted), r.Err)
		}
	}
	g.await(t, adm, 0)
}

// await waits until the broker knows.
func (g grant) await(t *testing.T, adm *kadm.Client, n int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		got := 0
		for _, r := range must(adm.DescribeACLs(t.Context(), g.builder(t)))(t) {
			got += len(r.Described)
		}
		if got == n {
			return
		}
	}
	t.Fatalf("%+v is not known to be %d after 20 seconds", g, n)
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// runACLs runs the lines of a script with Kafka's own tool and returns what they
// grant, operation by operation.
func runACLs(t *testing.T, k *realkafka.Cluster, script string) []grant {
	t.Helper()
	var all []grant
	for line := range strings.Lines(script) {
		args := strings.Fields(strings.ReplaceAll(line, "'", ""))
		if len(args) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if args[0] != "kafka-acls.sh" {
			t.Fatalf("not an invocation of kafka-acls.sh: %s", line)
		}
		args = args[1:]
		i := slices.Index(args, "--bootstrap-server")
		args[i+1] = k.Addrs()[0] // the administrator's way in
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		out, err := k.Command(ctx, "org.apache.kafka.tools.AclCommand", args...).CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		g := grant{prefixed: slices.Contains(args, "prefixed")}
		var operations []string
		for i := 0; i+1 < len(args); i++ {
			switch args[i] {
			case "--allow-principal":
				g.principal = args[i+1]
			case "--operation":
				operations = append(operations, args[i+1])
			case "--topic", "--group", "--transactional-id":
				g.kind, g.name = args[i], args[i+1]
			}
		}
		for _, g.operation = range operations {
			all = append(all, g)
		}
	}
	return all
}

// TestSecretsInReports: a pipeline with secrets is described without them.
func TestSecretsInReports(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.yaml")
	text := `pipeline: p
kafka:
  brokers: 127.0.0.1:1
  sasl: {scram_sha_512: {user: alice, password: "${KAFKA_PASSWORD}"}}
sources: {in: {topic: t, schema: {x: int64}}}
sinks: {out: {from: in, topic: u}}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"KAFKA_PASSWORD=" + plantedPassword}
	var all strings.Builder
	for _, args := range [][]string{{"validate", file}, {"graph", file}, {"graph", "--format", "dot", file}, {"topics", "--acls", file}} {
		all.WriteString(output(t, env, args...))
	}
	if !strings.Contains(all.String(), "--transactional-id p/ --resource-pattern-type prefixed") {
		t.Errorf("no list of ACLs:\n%s", all.String())
	}
	c := command(t.Context(), "validate", file, "--set", "tasks=${KAFKA_PASSWORD}")
	c.Env = append(c.Env, env...)
	out, err := c.CombinedOutput()
	if err == nil || !strings.Contains(string(out), `tasks is "${KAFKA_PASSWORD}"`) {
		t.Errorf("%v: %s", err, out)
	}
	all.Write(out)
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(all.String()); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), plantedPassword) {
		t.Errorf("the password shows up: %s", b.String())
	}
}
