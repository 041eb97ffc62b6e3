package spec

import (
	"strings"
	"testing"
)

type secretConfig struct {
	n      int
	secret Secret
}

func (c *secretConfig) Fields(f *Fields) {
	f.Int(&c.n, "n", 1, "A number.")
	f.Secret(&c.secret, "password", "A password.")
}

func TestSecret(t *testing.T) {
	if faults := Lint(&secretConfig{}); faults != nil {
		t.Error(faults)
	}
	env := map[string]string{"PW": "swordfish", "LONG": strings.Repeat("swordfish", 10), "EMPTY": "", "A": "q7"}
	for _, test := range []struct{ text, secret, err string }{
		{`password: ${PW}`, "swordfish", ""},
		{`password: "${PW}"`, "swordfish", ""},
		{`password: "${PW:other}"`, "swordfish", ""},
		{`password: null`, "", ""},
		{`password: swordfish`, "", `t:1:11: password is written into the file, where it does not stay secret; expected a variable of the environment, as in password: ${KAFKA_PASSWORD} and nothing else, or a file of its own: password_file`},
		{`password: "${NONE:swordfish}"`, "", `t:1:11: password is written into the file`},
		{`password: "${PW} "`, "", `t:1:11: password is written into the file`},
		{`password: "${PW}${PW}"`, "", `t:1:11: password is written into the file`},
		{`password: "$${PW}"`, "", `t:1:11: password is written into the file`},
		{`password: [swordfish]`, "", `t:1:11: password is no text`},
		{`password: "${EMPTY}"`, "", `t:1:11: password is empty: the variable EMPTY holds nothing`},
		{`n: "${PW}"`, "", `t:1:4: n is "${PW}"; expected a whole number`},
		{`n: "x ${LONG}"`, "", `t:1:4: n is a text of 92 characters; expected a whole number`},
		{`n: "${A}"`, "", `t:1:4: n is "${A}"; expected a whole number`},
	} {
		root, errs := Parse("t", []byte(test.text))
		if errs != nil {
			t.Fatal(errs)
		}
		if errs := Interpolate(root, func(name string) (string, bool) { v, ok := env[name]; return v, ok }); errs != nil {
			t.Fatal(errs)
		}
		var c secretConfig
		errs = Decode(root, &c)
		errs.Redact(env)
		switch {
		case test.err == "" && (errs != nil || c.secret.Reveal() != test.secret):
			t.Errorf("%s: %q, %v", test.text, c.secret.Reveal(), errs)
		case test.err != "" && !strings.HasPrefix(errs.Error(), test.err):
			t.Errorf("%s:\n got %v\nwant %s", test.text, errs, test.err)
		}
		if strings.Contains(errs.Error(), "swordf") || strings.Contains(Canonical(&c), "swordf") {
			t.Errorf("%s shows the secret: %v %s", test.text, errs, Canonical(&c))
		}
	}
}
