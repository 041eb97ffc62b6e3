package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/gradstream/gradstream/connectors/kafka"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/admin"
)

// security returns how to connect to the brokers of a pipeline, nothing for the
// embedded one.
func security(k pipeline.Kafka) (*tls.Config, *kafka.SASL, error) {
	if k.Embedded() {
		return nil, nil, nil
	}
	var config *tls.Config
	if t := k.TLS; t != nil {
		var err error
		config, err = kafka.TLSFiles{CA: t.CA, Cert: t.Cert, Key: t.Key, ServerName: t.ServerName, MinVersion: t.MinVersion}.Config()
		if err != nil {
			return nil, nil, fmt.Errorf("kafka.tls: %w", err)
		}
	}
	if k.SASL == nil {
		return config, nil, nil
	}
	s := *k.SASL
	login := &kafka.SASL{Mechanism: s.Mechanism, User: s.User, Secret: func() (string, error) {
		if s.SecretFile != "" {
			return pipeline.ReadSecret(s.SecretFile)
		}
		return s.Secret.Reveal(), nil
	}}
	if len(s.Extensions) > 0 {
		login.Extensions = map[string]string{}
		for _, e := range s.Extensions {
			login.Extensions[e.Name] = e.Value
		}
	}
	return config, login, nil
}

// tokenVariable is the variable of the environment that may hold the token of the
// HTTP listener.
const tokenVariable = "GRADSTREAM_HTTP_TOKEN"

// listenOptions say how the HTTP listener is protected.
type listenOptions struct {
	tokenFile, cert, key string
	insecure             bool
	lookup               func(string) (string, bool) // of the environment; nil = the process's
}

// addListen adds the flags that protect the HTTP listener.
func (a *app) addListen(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&a.http.tokenFile, "listen-token-file", "", "`file` with the token that the HTTP listener asks for on everything but /healthz and /readyz (or the variable "+tokenVariable+")")
	f.StringVar(&a.http.cert, "listen-cert", "", "PEM `file` with the certificate of the HTTP listener: it then speaks HTTPS")
	f.StringVar(&a.http.key, "listen-key", "", "PEM `file` with the key of --listen-cert")
	f.BoolVar(&a.http.insecure, "listen-insecure", false, "listen beyond this machine without a token")
}

// token returns the token of the HTTP listener, "" for none.
func (o *listenOptions) token() (string, error) {
	lookup := o.lookup
	if lookup == nil {
		lookup = os.LookupEnv
	}
	token, from := "", ""
	if o.tokenFile != "" {
		var err error
		if token, err = pipeline.ReadSecret(o.tokenFile); err != nil {
			return "", wrongInput("--listen-token-file: %w", err)
		}
		from = "--listen-token-file " + o.tokenFile
	} else if value, set := lookup(tokenVariable); set {
		token, from = strings.TrimSpace(value), tokenVariable
	}
	switch {
	case from == "":
		return "", nil
	case len(token) < admin.MinToken:
		return "", wrongInput("%s: the token has %d characters; expected %d or more, as openssl rand -hex 32 prints", from, len(token), admin.MinToken)
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", wrongInput("%s: the token has characters that no header can carry; expected letters, digits and signs, as openssl rand -hex 32 prints", from)
	}
	return token, nil
}

// onThisMachine reports whether an address to listen on is reached from this
// machine only.
func onThisMachine(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// secure checks how the listener at an address is protected, before it is opened,
// and returns how to wrap it.
func (a *app) secure(addr string) (wrap func(net.Listener) net.Listener, err error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, wrongInput("--listen %s: expected HOST:PORT", addr)
	}
	o := &a.http
	if a.token, err = o.token(); err != nil {
		return nil, err
	}
	if (o.cert == "") != (o.key == "") {
		return nil, wrongInput("--listen-cert and --listen-key are given together")
	}
	away := !onThisMachine(host)
	if away && a.token == "" && !o.insecure {
		return nil, wrongInput("--listen %s can be reached from other machines, so it needs a token: give --listen-token-file FILE or set %s; or --listen 127.0.0.1:PORT; or --listen-insecure where something else keeps strangers out", addr, tokenVariable)
	}
	if o.cert == "" {
		if away && a.token != "" {
			a.log.Warn("the token of the HTTP listener crosses the network unencrypted; give --listen-cert and --listen-key, or put a proxy that does in front", "address", addr)
		}
		return func(ln net.Listener) net.Listener { return ln }, nil
	}
	pair := &reloaded{cert: o.cert, key: o.key}
	if _, err := pair.get(nil); err != nil {
		return nil, wrongInput("--listen-cert: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.get}
	return func(ln net.Listener) net.Listener { return tls.NewListener(ln, config) }, nil
}

// reloaded is a certificate that is read again when its file changes.
type reloaded struct {
	cert, key string

	mu     sync.Mutex
	have   *tls.Certificate
	of     time.Time // modification of the file it was read from
	looked time.Time
}

func (r *reloaded) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.have != nil && time.Since(r.looked) < 10*time.Second {
		return r.have, nil
	}
	r.looked = time.Now()
	info, err := os.Stat(r.cert)
	if err == nil && r.have != nil && info.ModTime().Equal(r.of) {
		return r.have, nil
	}
	var pair tls.Certificate
	if err == nil {
		pair, err = tls.LoadX509KeyPair(r.cert, r.key)
	}
	switch {
	case err == nil:
		r.have, r.of = &pair, info.ModTime()
	case r.have == nil:
		return nil, err
	}
	return r.have, nil // the old one while the files are being replaced
}

// protect gives a server its token and its log.
func (a *app) protect(s *admin.Server) {
	s.Log(a.log)
	if a.token != "" {
		s.Protect(a.token)
	}
}

// scheme is that of the HTTP listener's address.
func (a *app) scheme() string {
	if a.http.cert != "" {
		return "https://"
	}
	return "http://"
}

// oneEach leaves out what a list of errors says twice: workers and tasks that end
// for one reason all name it.
func oneEach(err error) error {
	if err == nil || !strings.Contains(err.Error(), "\n") {
		return err
	}
	var out []error
	seen := map[string]bool{}
	var walk func(error)
	walk = func(e error) {
		if list, ok := e.(interface{ Unwrap() []error }); ok && strings.Contains(e.Error(), "\n") {
			for _, one := range list.Unwrap() {
				walk(one)
			}
			return
		}
		if e == nil || seen[e.Error()] || errors.Is(e, context.Canceled) && len(out) > 0 {
			return
		}
		seen[e.Error()] = true
		out = append(out, e)
	}
	walk(err)
	if len(out) == 1 {
		return out[0]
	}
	return errors.Join(out...)
}
