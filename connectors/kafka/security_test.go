package kafka

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/internal/testutil/realkafka"
	"github.com/gradstream/gradstream/internal/testutil/testcert"
)

const planted = "correct horse battery staple"

// jaas names a login module of Kafka's.
func jaas(module, options string) string {
	return "org.apache.kafka.common.security." + module + " required" + options + ";"
}

// token is a token that no one has signed, which Kafka accepts unless it is told
// otherwise.
func token(user string, life time.Duration) string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	now := time.Now()
	return part(`{"alg":"none"}`) + "." + part(fmt.Sprintf(`{"sub":%q,"iat":%d,"exp":%d}`, user, now.Unix(), now.Add(life).Unix())) + "."
}

func secretText(text string) func() (string, error) {
	return func() (string, error) { return text, nil }
}

// TestSecurity logs in, and fails to, at a real broker with a listener for each
// way.
func TestSecurity(t *testing.T) {
	ca, stranger := testcert.NewCA(t, "authority"), testcert.NewCA(t, "stranger")
	tomorrow, yesterday := time.Now().Add(12*time.Hour), time.Now().Add(-12*time.Hour)
	broker, old := ca.Issue(t, "broker", tomorrow), ca.Issue(t, "old-broker", yesterday)
	store := func(p testcert.Pair, more map[string]string) map[string]string {
		set := map[string]string{
			"ssl.keystore.type": "PEM", "ssl.keystore.location": p.Both,
			"ssl.truststore.type": "PEM", "ssl.truststore.location": ca.File,
		}
		for k, v := range more {
			set[k] = v
		}
		return set
	}
	login := map[string]string{
		"sasl.enabled.mechanisms":                   "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
		"plain.sasl.jaas.config":                    jaas("plain.PlainLoginModule", ` user_alice="`+planted+`"`),
		"scram-sha-256.sasl.jaas.config":            jaas("scram.ScramLoginModule", ""),
		"scram-sha-512.sasl.jaas.config":            jaas("scram.ScramLoginModule", ""),
		"oauthbearer.sasl.jaas.config":              jaas("oauthbearer.OAuthBearerLoginModule", ""),
		"oauthbearer.connections.max.reauth.ms":     "2000",
		"connection.failed.authentication.delay.ms": "0",
	}
	opts, at := realkafka.WithListeners(t, realkafka.Options{},
		realkafka.Listener{Name: "LOGIN", Protocol: "SASL_SSL", Properties: store(broker, login)},
		realkafka.Listener{Name: "CLEAR", Protocol: "SASL_PLAINTEXT", Properties: login},
		realkafka.Listener{Name: "MUTUAL", Protocol: "SSL", Properties: store(broker, map[string]string{"ssl.client.auth": "required"})},
		realkafka.Listener{Name: "OLD", Protocol: "SSL", Properties: store(old, nil)},
	)
	k := realkafka.Start(t, opts)
	plainAddr := k.Addrs()[0]
	scramUsers(t, plainAddr)

	trust := func(t *testing.T, f TLSFiles) *tls.Config {
		t.Helper()
		c, err := f.Config()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	known := func(t *testing.T) *tls.Config { return trust(t, TLSFiles{CA: ca.File}) }
	mine := ca.Issue(t, "gradstream", tomorrow)
	foreign := stranger.Issue(t, "foreign", tomorrow)
	password := &SASL{Mechanism: "PLAIN", User: "alice", Secret: secretText(planted)}

	for _, test := range []struct {
		name string
		addr string
		tls  func(t *testing.T) *tls.Config
		sasl *SASL
		want []string // in the error; nil = it works
	}{
		{"plain", at["LOGIN"], known, password, nil},
		{"scram 256", at["LOGIN"], known, &SASL{Mechanism: "SCRAM-SHA-256", User: "bob", Secret: secretText(planted)}, nil},
		{"scram 512", at["LOGIN"], known, &SASL{Mechanism: "SCRAM-SHA-512", User: "carol", Secret: secretText(planted)}, nil},
		{"oauthbearer", at["LOGIN"], known, &SASL{Mechanism: "OAUTHBEARER", Secret: secretText(token("dave", time.Hour))}, nil},
		{"mutual", at["MUTUAL"], func(t *testing.T) *tls.Config {
			return trust(t, TLSFiles{CA: ca.File, Cert: mine.Cert, Key: mine.Key, MinVersion: "TLSv1.3"})
		}, nil, nil},
		{"server name", at["LOGIN"], func(t *testing.T) *tls.Config { return trust(t, TLSFiles{CA: ca.File, ServerName: "localhost"}) }, password, nil},
		{"clear", at["CLEAR"], nil, password, nil},

		{"wrong password", at["LOGIN"], known, &SASL{Mechanism: "PLAIN", User: "alice", Secret: secretText("no " + planted)},
			[]string{at["LOGIN"], "SASL PLAIN as alice", "SASL_AUTHENTICATION_FAILED", "check user and password"}},
		{"wrong password, scram", at["LOGIN"], known, &SASL{Mechanism: "SCRAM-SHA-512", User: "carol", Secret: secretText("no " + planted)},
			[]string{at["LOGIN"], "SASL SCRAM-SHA-512 as carol", "SASL_AUTHENTICATION_FAILED", "check user and password"}},
		{"wrong password in the clear", at["CLEAR"], nil, &SASL{Mechanism: "PLAIN", User: "alice", Secret: secretText("no " + planted)},
			[]string{at["CLEAR"], "SASL_AUTHENTICATION_FAILED", "check user and password"}},
		{"token of yesterday", at["LOGIN"], known, &SASL{Mechanism: "OAUTHBEARER", Secret: secretText(token("dave", -time.Hour))},
			[]string{at["LOGIN"], "SASL OAUTHBEARER", "the token, under kafka.sasl"}},
		{"no mechanism", at["LOGIN"], known, &SASL{Mechanism: "PLAIN", User: "alice", Secret: func() (string, error) { return "", errors.New("there is no file x") }},
			[]string{"the secret of SASL PLAIN as alice: there is no file x", "kafka.sasl"}},
		{"expired broker", at["OLD"], known, nil,
			[]string{"TLS with " + at["OLD"], "certificate has expired", "renew it on the brokers"}},
		{"unknown authority", at["LOGIN"], func(t *testing.T) *tls.Config { return trust(t, TLSFiles{CA: stranger.File}) }, password,
			[]string{"TLS with " + at["LOGIN"], "unknown authority", "kafka.tls.ca"}},
		{"another name", at["LOGIN"], func(t *testing.T) *tls.Config { return trust(t, TLSFiles{CA: ca.File, ServerName: "kafka.internal"}) }, password,
			[]string{"TLS with " + at["LOGIN"], "kafka.internal", "kafka.tls.server_name"}},
		{"plain text where TLS is spoken", at["LOGIN"], nil, nil,
			[]string{at["LOGIN"], "the broker speaks TLS on this port: set kafka.tls"}},
		{"no certificate of ours", at["MUTUAL"], known, nil,
			[]string{at["MUTUAL"], "the broker refuses our certificate", "kafka.tls.cert"}},
		{"certificate of a stranger", at["MUTUAL"], func(t *testing.T) *tls.Config {
			return trust(t, TLSFiles{CA: ca.File, Cert: foreign.Cert, Key: foreign.Key})
		}, nil,
			[]string{at["MUTUAL"], "kafka.tls.cert"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log lockedLog
			var dials atomic.Int64
			o := Options{Brokers: []string{test.addr}, Pipeline: uniqueName(t), SASL: test.sasl, Log: slog.New(slog.NewTextHandler(&log, nil)),
				Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
					dials.Add(1)
					return new(net.Dialer).DialContext(ctx, network, address)
				}}
			if test.tls != nil {
				o.TLS = test.tls(t)
			}
			c, err := Open(testContext(t), o)
			if err == nil {
				defer c.Close()
				_, _, err = c.Describe(testContext(t), []string{"nothing"})
			}
			if test.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				o.TLS, o.Log = c.opt.TLS, nil
				produceSome(t, plainAddr, o)
			} else {
				if err == nil {
					t.Fatal("it works")
				}
				t.Logf("%d connections: %v", dials.Load(), err)
				for _, want := range test.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("the error lacks %q", want)
					}
				}
				if strings.Contains(err.Error(), "\n") {
					t.Error("the error has several lines")
				}
				if n := dials.Load(); n > 2*loginTries {
					t.Errorf("%d connections were opened", n)
				}
				if strings.Count(log.String(), "\n") > 1 {
					t.Errorf("the log has several lines:\n%s", log.String())
				}
			}
			if strings.Contains(log.String()+fmt.Sprint(err), planted) {
				t.Errorf("the password shows up: %v\n%s", err, log.String())
			}
			if warned := strings.Contains(log.String(), "unencrypted"); warned != (test.name == "clear") {
				t.Errorf("a warning about an unencrypted secret: %v\n%s", warned, log.String())
			}
		})
	}

	t.Run("suspicions", func(t *testing.T) {
		for _, test := range []struct {
			addr string
			tls  *tls.Config
			sasl *SASL
			want string
		}{
			{at["CLEAR"], nil, nil, "it may be starting, or want TLS (kafka.tls) or a login (kafka.sasl)"},
			{at["LOGIN"], known(t), nil, "it may be starting, want a login (kafka.sasl)"},
			{at["CLEAR"], known(t), password, "it may be starting, or speak no TLS on this port"},
		} {
			var log lockedLog
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			c, err := Open(ctx, Options{Brokers: []string{test.addr}, Pipeline: uniqueName(t), TLS: test.tls, SASL: test.sasl, Log: slog.New(slog.NewTextHandler(&log, nil))})
			if err == nil {
				_, _, err = c.Describe(ctx, []string{"nothing"})
				c.Close()
			}
			cancel()
			if err == nil || !strings.Contains(err.Error()+log.String(), test.want) {
				t.Errorf("%s: %v, expected %s\n%s", test.addr, err, test.want, log.String())
			}
		}
	})
	t.Run("expired certificate of ours", func(t *testing.T) {
		late := ca.Issue(t, "late", yesterday)
		_, err := TLSFiles{CA: ca.File, Cert: late.Cert, Key: late.Key}.Config()
		if err == nil || !strings.Contains(err.Error(), "our certificate "+late.Cert+": expired on ") {
			t.Error(err)
		}
	})
	t.Run("renewed token", func(t *testing.T) { testRenewedToken(t, at["LOGIN"], known(t)) })
	t.Run("revoked in mid-run", func(t *testing.T) { testRevoked(t, k, plainAddr, at["LOGIN"], known(t)) })
}

// scramUsers makes users whom the broker knows by itself.
func scramUsers(t *testing.T, addr string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, u := range []kadm.UpsertSCRAM{
		{User: "bob", Mechanism: kadm.ScramSha256, Iterations: 4096, Password: planted},
		{User: "carol", Mechanism: kadm.ScramSha512, Iterations: 4096, Password: planted},
		{User: "eve", Mechanism: kadm.ScramSha512, Iterations: 4096, Password: planted},
	} {
		resp, err := kadm.NewClient(cl).AlterUserSCRAMs(testContext(t), nil, []kadm.UpsertSCRAM{u})
		if err == nil {
			err = resp.Error()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// produceSome shows that the clients for tasks and for files log in as well.
func produceSome(t *testing.T, plainAddr string, o Options) {
	t.Helper()
	e := &env{addr: plainAddr, name: o.Pipeline}
	e.open(t, 1, nil) // makes the topics
	o.Sources, o.Tasks = []string{e.name + ".in"}, 1
	c, err := Open(testContext(t), o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := NewProducer(ProducerOptions{Brokers: o.Brokers, TLS: o.TLS, SASL: o.SASL})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Send(testContext(t), e.name+".in", connectors.Record{Value: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	l := fenced(t, c, 0, "open")
	mustCommit(t, l, e.step(1, 2, 0))
	equal(t, "outputs", e.settled(t, 2), want([]int{1}, 2))
}

// testRenewedToken keeps a connection while the broker asks for a fresh token every
// two seconds, which is read from where it is kept.
func testRenewedToken(t *testing.T, addr string, secure *tls.Config) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(token("dave", time.Hour))
	var reads atomic.Int64
	c, err := Open(testContext(t), Options{Brokers: []string{addr}, Pipeline: uniqueName(t), TLS: secure, Log: testLog(t),
		SASL: &SASL{Mechanism: "OAUTHBEARER", Secret: func() (string, error) {
			reads.Add(1)
			b, err := os.ReadFile(file)
			return string(b), err
		}}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := testContext(t)
	for first := reads.Load(); reads.Load() < first+2; sleep(ctx, 100*time.Millisecond) {
		if _, _, err := c.Describe(ctx, []string{"nothing"}); err != nil {
			t.Fatal(err)
		}
	}
	write(token("dave", -time.Hour))
	for {
		_, _, err := c.Describe(ctx, []string{"nothing"})
		if err == nil && sleep(ctx, 100*time.Millisecond) {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "the token, under kafka.sasl") {
			t.Errorf("with an old token: %v", err)
		}
		return
	}
}

// testRevoked takes a user away from a worker that runs, and cuts its connections:
// its next step fails for good, with one line.
func testRevoked(t *testing.T, k *realkafka.Cluster, plainAddr, addr string, secure *tls.Config) {
	e := &env{addr: plainAddr, name: uniqueName(t)}
	e.open(t, 1, nil)
	var mu sync.Mutex
	var open []net.Conn
	var dials atomic.Int64
	var log lockedLog
	c, err := Open(testContext(t), Options{Brokers: []string{addr}, Pipeline: e.name, TLS: secure, Sources: []string{e.name + ".in"}, Tasks: 1,
		SASL: &SASL{Mechanism: "SCRAM-SHA-512", User: "eve", Secret: secretText(planted)}, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
			dials.Add(1)
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			return conn, err
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l := fenced(t, c, 0, "open")
	mustCommit(t, l, e.step(1, 1, 0))

	cl, err := kgo.NewClient(kgo.SeedBrokers(plainAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).AlterUserSCRAMs(testContext(t), []kadm.DeleteSCRAM{{User: "eve", Mechanism: kadm.ScramSha512}}, nil); err != nil {
		t.Fatal(err)
	}
	before := dials.Load()
	mu.Lock()
	for _, conn := range open {
		_ = conn.Close()
	}
	mu.Unlock()
	_, err = l.Commit(testContext(t), e.step(2, 1, 0))
	t.Logf("%d connections: %v", dials.Load()-before, err)
	if err == nil || !strings.Contains(err.Error(), "check user and password") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a step of a revoked user: %v", err)
	}
	if n := dials.Load() - before; n > 40 { // of three clients, each waiting half a second between its tries
		t.Errorf("%d connections were opened", n)
	}
	equal(t, "outputs", e.settled(t, 1), want([]int{1}, 1))
	if strings.Contains(log.String()+fmt.Sprint(err), planted) {
		t.Errorf("the password shows up: %v\n%s", err, log.String())
	}
}

// settled returns the outputs of task 0 once there are n: a transaction is
// committed before the mark that shows it is written everywhere.
func (e *env) settled(t testing.TB, n int) []string {
	t.Helper()
	ctx := testContext(t)
	for {
		got := e.committed(t, e.name+".out", 0)
		if len(got) >= n || !sleep(ctx, 20*time.Millisecond) {
			return got
		}
	}
}

// lockedLog is a log that may be read while it is written.
type lockedLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lockedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
