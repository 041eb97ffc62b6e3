package pipeline

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gradstream/gradstream/pipeline/spec"
)

// The secrets of the tests: none of them may show up in any text. The long one is
// longer than what messages show of a value.
const (
	plantedSecret = `correct "horse" battery staple, and some more of it`
	plantedShort  = "q7"
)

// keyPair writes a certificate that signs itself, and its key.
func keyPair(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	writeFile(t, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	writeFile(t, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	return cert, key
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func secured(kafka string) []byte {
	return []byte("pipeline: p\nkafka:\n" + kafka + "\nsources:\n  in: {topic: clicks, schema: {x: int64}}\nsinks:\n  out: {from: in, topic: out}\n")
}

func TestSecurity(t *testing.T) {
	dir := t.TempDir()
	cert, key := keyPair(t, dir, "client")
	password := filepath.Join(dir, "password")
	writeFile(t, password, []byte(plantedSecret+"\n"))
	parse := func(kafka string) *Pipeline {
		t.Helper()
		p, errs := Parse("p.yaml", secured(kafka), testOptions())
		if errs != nil {
			t.Fatal(errs)
		}
		return p
	}

	p := parse(fmt.Sprintf("  brokers: k:9093\n  tls: {ca: %q, cert: %q, key: %q, server_name: kafka, min_version: TLSv1.3}\n  sasl: {scram_sha_512: {user: alice, password_file: %q}}", cert, cert, key, password))
	if want := (TLS{CA: cert, Cert: cert, Key: key, ServerName: "kafka", MinVersion: "TLSv1.3"}); *p.Kafka.TLS != want {
		t.Errorf("tls is %+v, expected %+v", *p.Kafka.TLS, want)
	}
	if s := p.Kafka.SASL; s.Mechanism != "SCRAM-SHA-512" || s.User != "alice" || s.SecretFile != password || s.Secret.Given() {
		t.Errorf("sasl is %+v", s)
	}
	if got, err := ReadSecret(password); got != plantedSecret || err != nil {
		t.Errorf("the password file holds %q, %v", got, err)
	}

	p = parse("  brokers: k:9093\n  tls: true\n  sasl: {plain: {user: alice, password: \"${KAFKA_PASSWORD}\"}}")
	if *p.Kafka.TLS != (TLS{MinVersion: "TLSv1.2"}) || p.Kafka.SASL.Mechanism != "PLAIN" || p.Kafka.SASL.Secret.Reveal() != plantedSecret || p.Kafka.SASL.Secret.Variable != "KAFKA_PASSWORD" {
		t.Errorf("tls is %+v, sasl %+v", p.Kafka.TLS, p.Kafka.SASL)
	}

	p = parse(fmt.Sprintf("  brokers: k:9093\n  sasl: {oauthbearer: {token_file: %q, extensions: {logicalCluster: lkc-1, identityPoolId: pool-2}}}", password))
	if s := p.Kafka.SASL; p.Kafka.TLS != nil || s.Mechanism != "OAUTHBEARER" || fmt.Sprint(s.Extensions) != "[{logicalCluster lkc-1} {identityPoolId pool-2}]" {
		t.Errorf("sasl is %+v", s)
	}

	// The embedded broker needs none of the files.
	p = parse("  tls: {ca: no/such/file}\n  sasl: {plain: {user: a, password_file: no/such/file}}")
	if !p.Kafka.Embedded() {
		t.Error("not embedded")
	}
}

// TestCertificates: what is wrong with a file is said at its position, without what
// it holds.
func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	cert, key := keyPair(t, dir, "client")
	_, other := keyPair(t, dir, "other")
	broken, empty := filepath.Join(dir, "broken.pem"), filepath.Join(dir, "empty")
	writeFile(t, broken, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	writeFile(t, empty, []byte(" \n"))
	for _, test := range []struct{ kafka, want string }{
		{fmt.Sprintf("  tls: {ca: %q}", key), "p.yaml:4:13: " + key + " holds no certificate in PEM"},
		{fmt.Sprintf("  tls: {ca: %q}", broken), "p.yaml:4:13: certificate 1 of " + broken + " cannot be read: "},
		{fmt.Sprintf("  tls:\n    cert: %q\n    key: %q", cert, other), "p.yaml:6:10: the key " + other + " cannot be used: private key does not match public key"},
		{fmt.Sprintf("  tls:\n    cert: %q\n    key: %q", cert, cert), "p.yaml:6:10: the key " + cert + " cannot be used: "},
		{fmt.Sprintf("  tls:\n    cert: %q\n    key: %q", cert, empty+"x"), "p.yaml:6:10: there is no file " + empty + "x; expected"},
		{fmt.Sprintf("  sasl: {oauthbearer: {token_file: %q}}", empty), "p.yaml:4:36: " + empty + " is empty; expected"},
	} {
		p, errs := Parse("p.yaml", secured("  brokers: k:9093\n"+test.kafka), testOptions())
		if p != nil || len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), test.want) {
			t.Errorf("%s\n got %v\nwant %s", test.kafka, errs, test.want)
		}
	}
}

// TestSecretsStayHidden looks for the planted secrets in everything that is
// written about a pipeline that has them, and in what is wrong with one.
func TestSecretsStayHidden(t *testing.T) {
	p, errs := Parse("p.yaml", secured("  brokers: k:9093\n  sasl: {plain: {user: alice, password: \"${KAFKA_PASSWORD}\"}}"), testOptions())
	if errs != nil {
		t.Fatal(errs)
	}
	var all bytes.Buffer
	secret := p.Kafka.SASL.Secret
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&all, format+format+format+"\n", secret, &secret, *p.Kafka.SASL)
	}
	for _, v := range []any{secret, p.Kafka, p} {
		text, err := json.Marshal(v)
		if err != nil {
			fmt.Fprintln(&all, err)
		}
		all.Write(text)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&all, nil), slog.NewJSONHandler(&all, nil)} {
		slog.New(h).Info("a pipeline", "secret", secret, "pointer", &secret, "sasl", p.Kafka.SASL, "kafka", p.Kafka, "group", slog.GroupValue(slog.Any("in", secret)))
	}
	for _, format := range GraphFormats {
		if err := WriteGraph(&all, p, format); err != nil {
			t.Fatal(err)
		}
	}
	all.WriteString(p.canonical())
	if !strings.Contains(all.String(), spec.Hidden) {
		t.Fatal("nothing was hidden")
	}
	for _, file := range files(t, "testdata/bad/security_*.txt", 10) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	// A secret under the name of none, where it does not belong, too long to be
	// shown whole.
	for _, text := range []string{"tasks: \"${A}\"", "kafka: {brokers: \"${A}\", sasl: {plain: {user: u, password: \"${A}\"}}}\ntasks: \"${A}\"", "operators: {\"x\": {from: \"${A}\"}}\nkafka: {sasl: {oauthbearer: {token: \"${A}\"}}}"} {
		o := testOptions()
		o.Lookup = func(name string) (string, bool) { return plantedSecret, name == "A" || name == "MY_TOKEN" }
		if !strings.Contains(text, "password") && !strings.Contains(text, "token") {
			text = strings.ReplaceAll(text, "${A}", "${MY_TOKEN}")
		}
		_, errs := Parse("p.yaml", []byte("pipeline: p\n"+text+"\nsources:\n  in: {topic: clicks, schema: {x: int64}}\n"), o)
		if len(errs) == 0 {
			t.Fatalf("%s was found correct", text)
		}
		all.WriteString(errs.Error())
	}
	for _, planted := range []string{plantedSecret, "horse", plantedShort, "hunter2", "abc.def.ghi", fmt.Sprintf("%x", "horse")} {
		if i := strings.Index(all.String(), planted); i >= 0 {
			t.Errorf("%q shows up: …%s…", planted, all.String()[max(0, i-80):min(all.Len(), i+80)])
		}
	}
}
