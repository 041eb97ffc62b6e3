package pipeline

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gradstream/gradstream/pipeline/spec"
)

// TLS says how connections to the brokers are encrypted and who is believed.
// Files are PEM, paths relative to the working folder.
type TLS struct {
	CA         string // certificates that sign the brokers'; "" = the system's
	Cert, Key  string // our own certificate with its chain, and its key; "" = none
	ServerName string // expected in the brokers' certificates; "" = the host that is connected to
	MinVersion string // TLSv1.2 or TLSv1.3
}

// SASL says who the brokers are told we are.
type SASL struct {
	Mechanism string // PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER
	User      string // all but OAUTHBEARER
	// Secret is the password, or the token of OAUTHBEARER; not given where
	// SecretFile is, which is read whenever a connection is opened.
	Secret     spec.Secret
	SecretFile string
	Extensions []Extension // of OAUTHBEARER, in written order
}

// Extension is a named text that goes with a token, such as the cluster it is for.
type Extension struct{ Name, Value string }

type tlsConfig struct {
	ca, cert, key, serverName, minVersion string

	at struct{ ca, cert, key spec.Pos }
}

func (c *tlsConfig) Fields(f *spec.Fields) {
	f.String(&c.ca, "ca", "", "PEM file with the certificates that sign the brokers'. Without it, those that the system trusts.").Example("/etc/kafka/ca.pem").At(&c.at.ca)
	f.String(&c.cert, "cert", "", "PEM file with our own certificate and its chain, for brokers that ask for one (mTLS). It is read anew for each connection.").Example("/etc/kafka/tls.crt").At(&c.at.cert)
	f.String(&c.key, "key", "", "PEM file with the key of `cert`.").Example("/etc/kafka/tls.key").At(&c.at.key)
	f.String(&c.serverName, "server_name", "", "Name that the brokers' certificates must hold, where it is not the host that is connected to.").Example("kafka.internal")
	f.Enum(&c.minVersion, "min_version", "TLSv1.2", []string{"TLSv1.2", "TLSv1.3"}, "Oldest version of TLS that is spoken.")
}

// Check implements spec.Checker.
func (c *tlsConfig) Check(add func(field, msg, want string)) {
	switch {
	case c.cert != "" && c.key == "":
		add("cert", "there is a cert but no key", "expected the file of its key as key: FILE")
	case c.key != "" && c.cert == "":
		add("key", "there is a key but no cert", "expected the file of its certificate as cert: FILE")
	}
}

// passwordConfig is a user with a password.
type passwordConfig struct {
	user         string
	password     spec.Secret
	passwordFile string

	fileAt spec.Pos
}

func (c *passwordConfig) Fields(f *spec.Fields) {
	f.String(&c.user, "user", "", "Name of the user.").Required().Matching(`.+`, "a name").Example("gradstream")
	f.Secret(&c.password, "password", "The password, by a variable of the environment: it cannot be written here.")
	f.String(&c.passwordFile, "password_file", "", "File that holds the password, in place of `password`. It is read anew for each connection; a line end behind the password does not count.").
		Example("/etc/kafka/password").At(&c.fileAt)
}

// Check implements spec.Checker.
func (c *passwordConfig) Check(add func(field, msg, want string)) {
	oneSecret(add, "password", c.password.Given(), c.passwordFile)
}

type tokenConfig struct {
	token      spec.Secret
	tokenFile  string
	extensions []spec.Entry

	fileAt spec.Pos
}

func (c *tokenConfig) Fields(f *spec.Fields) {
	f.Secret(&c.token, "token", "The token, by a variable of the environment: it cannot be written here. It cannot be renewed: prefer `token_file`.")
	f.String(&c.tokenFile, "token_file", "", "File that holds the token, in place of `token`. It is read anew for each connection and when the brokers ask for a fresh one, so whatever renews it need not restart anything.").
		Example("/var/run/secrets/kafka/token").At(&c.fileAt)
	f.Ordered(&c.extensions, "extensions", "Texts that go with the token: name and value.").
		Matching(`[A-Za-z]+`, "letters").Example("{logicalCluster: lkc-1}")
}

// Check implements spec.Checker.
func (c *tokenConfig) Check(add func(field, msg, want string)) {
	oneSecret(add, "token", c.token.Given(), c.tokenFile)
	for _, e := range c.extensions {
		if e.Key.Name == "auth" {
			add("extensions", "an extension is named auth, which is the token's own name", "expected another name")
		}
		if strings.ContainsAny(e.Value.Name, "\x00\x01") {
			add("extensions", "the extension "+e.Key.Name+" holds a control character", "expected text")
		}
	}
}

// oneSecret makes sure that a secret comes from one place.
func oneSecret(add func(field, msg, want string), name string, given bool, file string) {
	switch {
	case given && file != "":
		add(name+"_file", "both "+name+" and "+name+"_file are given", "expected one of them")
	case !given && file == "":
		add("", name+" is missing", fmt.Sprintf("expected %s: ${VAR}, a variable of the environment, or %s_file: FILE", name, name))
	}
}

// mechanisms are the ways to log in: what the file calls them, and Kafka.
var mechanisms = []struct{ option, name, summary string }{
	{"plain", "PLAIN", "User and password, which cross the network as they are: use it with `tls`."},
	{"scram_sha_256", "SCRAM-SHA-256", "User and password, of which only proofs cross the network."},
	{"scram_sha_512", "SCRAM-SHA-512", "As `scram_sha_256`, with a longer hash."},
	{"oauthbearer", "OAUTHBEARER", "A token that somebody else issues and renews, which crosses the network as it is: use it with `tls`."},
}

func saslOptions() []spec.Option {
	options := make([]spec.Option, len(mechanisms))
	for i, m := range mechanisms {
		options[i] = spec.Option{Name: m.option, Summary: m.summary, New: func() spec.Config { return new(passwordConfig) }}
		if m.option == "oauthbearer" {
			options[i].New = func() spec.Config { return new(tokenConfig) }
		}
	}
	return options
}

// security takes over how to connect, and looks at the files it names. The
// embedded broker needs none of it: the same file may name real brokers elsewhere.
func (l *loader) security() (*TLS, *SASL) {
	c := &l.file.kafka
	var t *TLS
	var s *SASL
	if c.tlsOn {
		t = &TLS{CA: c.tls.ca, Cert: c.tls.cert, Key: c.tls.key, ServerName: c.tls.serverName, MinVersion: c.tls.minVersion}
	}
	file, fileAt := "", spec.Pos{}
	for _, m := range mechanisms {
		if m.option != c.sasl.Name {
			continue
		}
		s = &SASL{Mechanism: m.name}
		switch o := c.sasl.Config.(type) {
		case *passwordConfig:
			s.User, s.Secret, s.SecretFile, fileAt = o.user, o.password, o.passwordFile, o.fileAt
		case *tokenConfig:
			s.Secret, s.SecretFile, fileAt = o.token, o.tokenFile, o.fileAt
			for _, e := range o.extensions {
				s.Extensions = append(s.Extensions, Extension{e.Key.Name, e.Value.Name})
			}
		}
		file = s.SecretFile
	}
	if len(l.p.Kafka.Brokers) == 0 {
		return t, s
	}
	if t != nil {
		l.tlsFiles(t, &c.tls)
	}
	if file != "" {
		if _, err := ReadSecret(file); err != nil {
			l.errorf(fileAt, "expected a file that holds the secret and can be read", "%v", err)
		}
	}
	return t, s
}

// tlsFiles makes sure that the files hold what they should.
func (l *loader) tlsFiles(t *TLS, c *tlsConfig) {
	if t.CA != "" {
		if _, err := ReadCertificates(t.CA); err != nil {
			l.errorf(c.at.ca, "expected a PEM file with the certificates that sign the brokers'", "%v", err)
		}
	}
	if t.Cert == "" || t.Key == "" {
		return
	}
	cert, certErr := ReadCertificates(t.Cert)
	if certErr != nil {
		l.errorf(c.at.cert, "expected a PEM file with our certificate", "%v", certErr)
	}
	key, keyErr := os.ReadFile(t.Key)
	if keyErr != nil {
		l.errorf(c.at.key, "expected a PEM file with the key of cert", "%v", fileError(t.Key, keyErr))
	}
	if certErr != nil || keyErr != nil {
		return
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		l.errorf(c.at.key, "expected the key of the certificate in cert, not encrypted", "the key %s cannot be used: %s", t.Key, strings.TrimPrefix(err.Error(), "tls: "))
	}
}

// ReadCertificates returns a PEM file after making sure that it holds a
// certificate, and nothing called one that is none.
func ReadCertificates(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	n := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		n++
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, fmt.Errorf("certificate %d of %s cannot be read: %s", n, path, strings.TrimPrefix(err.Error(), "x509: "))
		}
	}
	if n == 0 {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return data, nil
}

// maxSecret bounds what is read of a file that is to hold a secret: tokens have
// some kilobytes.
const maxSecret = 1 << 20

// ReadSecret returns what a file holds, without white space around it.
func ReadSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return "", fmt.Errorf("%s is a folder", path)
	}
	if err == nil && info.Size() > maxSecret {
		return "", fmt.Errorf("%s has %d bytes, too many for a secret", path, info.Size())
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		return "", fileError(path, err)
	}
	if data = bytes.TrimSpace(data); len(data) == 0 {
		return "", fmt.Errorf("%s is empty", path)
	}
	return string(data), nil
}

// fileError says what is wrong with a file in one phrase.
func fileError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if !filepath.IsAbs(path) {
			return fmt.Errorf("there is no file %s below the working folder", path)
		}
		return fmt.Errorf("there is no file %s", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s may not be read by this user", path)
	}
	return err
}

// secretValues returns the values that errors must not repeat: of the variables
// that name secrets or are used as one.
func secretValues(seen map[string]string, used ...spec.Secret) map[string]string {
	values := map[string]string{}
	for name, value := range seen {
		if spec.SecretName(name) {
			values[name] = value
		}
	}
	for _, s := range used {
		if s.Given() {
			values[s.Variable] = s.Reveal()
		}
	}
	return values
}
