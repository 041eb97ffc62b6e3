package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// TLSFiles says which PEM files make a TLS configuration.
type TLSFiles struct {
	CA         string // certificates that sign the brokers'; "" = the system's
	Cert, Key  string // our own certificate with its chain, and its key; "" = none
	ServerName string // expected in the brokers' certificates; "" = the host that is connected to
	MinVersion string // TLSv1.2 (default) or TLSv1.3
}

// Config reads the files. Those of our own certificate are read again for each
// connection, so that a renewed one is used without a restart. A certificate of
// ours that has expired, or is not valid yet, is an error here already: brokers
// are not plain about it.
func (f TLSFiles) Config() (*tls.Config, error) {
	c := &tls.Config{ServerName: f.ServerName, MinVersion: tls.VersionTLS12}
	switch f.MinVersion {
	case "", "TLSv1.2":
	case "TLSv1.3":
		c.MinVersion = tls.VersionTLS13
	default:
		return nil, fmt.Errorf("TLS version %q: expected TLSv1.2 or TLSv1.3", f.MinVersion)
	}
	if f.CA != "" {
		data, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, fmt.Errorf("the certificates that sign the brokers': %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", f.CA)
		}
	}
	if f.Cert == "" {
		return c, nil
	}
	if _, err := f.own(); err != nil {
		return nil, err
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return f.own() }
	return c, nil
}

// own reads our certificate.
func (f TLSFiles) own() (*tls.Certificate, error) {
	what := "our certificate " + f.Cert
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, &securityError{what + " or its key " + f.Key, err, "give a certificate and its key in PEM as kafka.tls.cert and kafka.tls.key"}
	}
	const day = "2006-01-02 15:04 MST"
	switch now := time.Now(); {
	case now.After(cert.Leaf.NotAfter):
		return nil, &securityError{what, errors.New("expired on " + cert.Leaf.NotAfter.UTC().Format(day)), "renew it"}
	case now.Before(cert.Leaf.NotBefore):
		return nil, &securityError{what, errors.New("valid from " + cert.Leaf.NotBefore.UTC().Format(day) + " on"), "is the clock right?"}
	}
	return &cert, nil
}

// SASL says who the brokers are told we are. It prints without its secrets.
type SASL struct {
	Mechanism string // PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER
	User      string // all but OAUTHBEARER
	// Secret returns the password, or the token of OAUTHBEARER. It is called for
	// each connection, and when the brokers ask to log in again.
	Secret     func() (string, error)
	Extensions map[string]string // of OAUTHBEARER
}

// String names the mechanism and the user.
func (s *SASL) String() string {
	if s.User == "" {
		return s.Mechanism
	}
	return s.Mechanism + " as " + s.User
}

// login is a mechanism that notes how it goes.
type login struct {
	sasl.Mechanism
	as     *SASL
	belief *belief
}

// Authenticate implements sasl.Mechanism.
func (l login) Authenticate(ctx context.Context, host string) (sasl.Session, []byte, error) {
	s, first, err := l.Mechanism.Authenticate(ctx, host)
	if err != nil {
		return nil, nil, err
	}
	return session{s, l}, first, nil
}

type session struct {
	sasl.Session
	login login
}

// Challenge implements sasl.Session.
func (s session) Challenge(answer []byte) (bool, []byte, error) {
	if s.login.as.Mechanism == "OAUTHBEARER" && len(answer) > 0 {
		// RFC 7628, 3.2.2: an object that says why, in place of a refusal.
		var why struct {
			Status string `json:"status"`
		}
		if json.Unmarshal(answer, &why) != nil || why.Status == "" {
			why.Status = "no reason given"
		}
		return false, nil, fmt.Errorf("%w: the token is refused: %q", kerr.SaslAuthenticationFailed, why.Status)
	}
	done, next, err := s.Session.Challenge(answer)
	if err != nil {
		return false, nil, fmt.Errorf("%w: %w", kerr.SaslAuthenticationFailed, err)
	}
	if done {
		s.login.belief.restored()
	}
	return done, next, nil
}

// mechanism returns what the client logs in with.
func (s *SASL) mechanism() (sasl.Mechanism, error) {
	if s.Secret == nil {
		return nil, fmt.Errorf("SASL %s has no secret", s.Mechanism)
	}
	secret := func() (string, error) {
		text, err := s.Secret()
		if err == nil && text == "" {
			err = errors.New("it is empty")
		}
		if err != nil {
			return "", &securityError{"the secret of SASL " + s.String(), err, "give it under kafka.sasl"}
		}
		return text, nil
	}
	switch s.Mechanism {
	case "PLAIN":
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			text, err := secret()
			return plain.Auth{User: s.User, Pass: text}, err
		}), nil
	case "SCRAM-SHA-256", "SCRAM-SHA-512":
		auth := func(context.Context) (scram.Auth, error) {
			text, err := secret()
			return scram.Auth{User: s.User, Pass: text}, err
		}
		if s.Mechanism == "SCRAM-SHA-256" {
			return scram.Sha256(auth), nil
		}
		return scram.Sha512(auth), nil
	case "OAUTHBEARER":
		return oauth.Oauth(func(context.Context) (oauth.Auth, error) {
			text, err := secret()
			return oauth.Auth{Token: text, Extensions: s.Extensions}, err
		}), nil
	}
	return nil, fmt.Errorf("SASL mechanism %q: expected PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER", s.Mechanism)
}

// options make a client log in, and tell how connections fare.
func (s *SASL) options(b *belief) ([]kgo.Opt, error) {
	if s == nil {
		return []kgo.Opt{kgo.WithHooks(answers{b})}, nil
	}
	m, err := s.mechanism()
	if err != nil {
		return nil, err
	}
	return []kgo.Opt{kgo.SASL(login{m, s, b})}, nil
}

// inClear reports whether the secret itself crosses the network unencrypted.
func (s *SASL) inClear(t *tls.Config) bool {
	return s != nil && t == nil && (s.Mechanism == "PLAIN" || s.Mechanism == "OAUTHBEARER")
}

// securityError is a failure of ours that no retry mends by itself.
type securityError struct {
	what   string
	why    error
	remedy string
}

func (e *securityError) Error() string { return e.what + ": " + e.why.Error() }
func (e *securityError) Unwrap() error { return e.why }

// dialTLS opens connections and makes sure of the broker, under a name of its own
// for what goes wrong. The broker looks at us later, with TLS 1.3.
func dialTLS(config *tls.Config, dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	if dial == nil {
		dial = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		c := config
		if c.ServerName == "" {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				host = address
			}
			c = c.Clone()
			c.ServerName = host
		}
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		secure := tls.Client(conn, c)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, &handshakeError{address, err}
		}
		return secure, nil
	}
}

// handshakeError is a TLS connection to a broker that did not come about.
type handshakeError struct {
	address string
	err     error
}

func (e *handshakeError) Error() string { return "TLS with " + e.address + ": " + plainTLS(e.err) }
func (e *handshakeError) Unwrap() error { return e.err }

func plainTLS(err error) string {
	return strings.TrimPrefix(strings.TrimPrefix(err.Error(), "tls: "), "failed to verify certificate: ")
}

// unsafe says what to do about an error that is about who is who: the brokers do
// not believe us or we do not believe them. Trying again does not change it soon.
// It is "" for all other errors.
func unsafe(err error) (remedy string) {
	var own *securityError
	if errors.As(err, &own) {
		return own.remedy
	}
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return "the brokers refuse this user or secret: check user and password, or the token, under kafka.sasl"
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		return "the brokers do not offer this mechanism: choose another one under kafka.sasl"
	case errors.Is(err, kerr.IllegalSaslState):
		return "this listener of the brokers asks nobody to log in: leave kafka.sasl out, or use another port"
	}
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var record tls.RecordHeaderError
	var remote *net.OpError
	var unverified *tls.CertificateVerificationError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the broker's certificate has expired or is not valid yet: renew it on the brokers, or set the clock right"
	case errors.As(err, &unknown):
		return "the broker's certificate is signed by nobody we trust: name the file of the signing certificate as kafka.tls.ca"
	case errors.As(err, &host):
		return "the broker's certificate is for another name: connect by that name, or give it as kafka.tls.server_name"
	case errors.As(err, &record):
		return "the broker does not speak TLS on this port: leave kafka.tls out, or use another port"
	case errors.As(err, &remote) && remote.Op == "remote error": // an alert of TLS, whose type is not exported
		switch alert := strings.TrimPrefix(remote.Err.Error(), "tls: "); {
		case strings.Contains(alert, "certificate"), alert == "access denied":
			return "the broker refuses our certificate, or misses it: give one that its authorities have signed as kafka.tls.cert and kafka.tls.key"
		case alert == "handshake failure", alert == "protocol version not supported", alert == "insufficient security level":
			return "the broker and we have no common version or cipher of TLS, or it wants a certificate of ours: see kafka.tls"
		}
	case errors.As(err, &unverified):
		return "the broker's certificate cannot be verified: see kafka.tls"
	case strings.Contains(err.Error(), "tls alert record"): // what the client makes of an answer in TLS
		return "the broker speaks TLS on this port: set kafka.tls"
	}
	return ""
}

// suspicion says what an error that may pass may yet be a sign of.
func suspicion(err error, o *Options) string {
	var first *kgo.ErrFirstReadEOF
	if !errors.As(err, &first) {
		return ""
	}
	switch {
	case o.TLS == nil:
		return "the broker closed the connection at once: it may be starting, or want TLS (kafka.tls) or a login (kafka.sasl)"
	case o.SASL == nil:
		return "the broker closed the connection at once: it may be starting, want a login (kafka.sasl), or a certificate of ours (kafka.tls.cert)"
	}
	return "the broker closed the connection at once: it may be starting, or speak no TLS on this port"
}

// loginTries is how often a worker that starts tries to log in before it gives
// up: a changed password takes a moment to reach all brokers.
const loginTries = 4

// loginPause is what it waits between: 0.25, 0.5 and 1 s.
func loginPause(try int) time.Duration { return 250 * time.Millisecond << min(try, 4) }

// belief is whether brokers and worker believe each other, as far as all clients
// of a cluster have seen. The library's clients try on for ever whatever a broker
// says of them, some without telling anyone but the log.
type belief struct {
	ctx    context.Context // ends with the belief
	cancel context.CancelFunc

	mu    sync.Mutex
	fails int       // in a row
	since time.Time // of the first of them
	said  time.Time // when the log heard of one
	lost  error     // why there is no more belief; it does not come back
}

func newBelief() *belief {
	b := &belief{said: time.Now()}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// patience is how long all tries must have failed. What is changed at the brokers
// and at the workers, such as a password, does not change at both at once. Tries
// are said in the log every saidEvery.
const (
	patience  = 2 * time.Second
	saidEvery = 30 * time.Second
)

// failed notes that a connection came to nothing for who is who, and reports
// whether the log should hear of it.
func (b *belief) failed(err error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost != nil {
		return false
	}
	now := time.Now()
	if b.fails++; b.fails == 1 {
		b.since = now
	}
	if b.fails >= loginTries && now.Sub(b.since) >= patience {
		b.lost = err
		b.cancel()
		return false
	}
	if now.Sub(b.said) < saidEvery {
		return false
	}
	b.said = now
	return true
}

// answers hears of the first answer on a connection that needs no login.
type answers struct{ belief *belief }

// OnBrokerRead implements kgo.HookBrokerRead.
func (a answers) OnBrokerRead(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if err == nil && key == int16(kmsg.ApiVersions) {
		a.belief.restored()
	}
}

// restored notes that a connection was made.
func (b *belief) restored() {
	b.mu.Lock()
	b.fails = 0
	b.mu.Unlock()
}

func (b *belief) err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lost
}

// disbelief is the error once brokers and worker do not believe each other any
// more, else nil.
func (c *Cluster) disbelief() error {
	if lost := c.belief.err(); lost != nil {
		return explain(c.whereAsWhom(), lost)
	}
	return nil
}

// believing returns a context that ends with the belief, too, and a function to
// call with the error of what was done under it: it puts the reason in its place.
func (c *Cluster) believing(ctx context.Context) (context.Context, func(*error)) {
	on, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.belief.ctx, cancel)
	return on, func(err *error) {
		stop()
		cancel()
		if *err == nil || ctx.Err() != nil {
			return
		}
		if lost := c.disbelief(); lost != nil {
			*err = lost
		}
	}
}
