package spec

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
)

// Secret is a text that nothing prints: a password or a token, from a variable
// of the environment. Formatting, logging or encoding it gives [Hidden].
type Secret struct {
	value    string
	Variable string // the name of the variable it came from
	Pos      Pos
}

// Hidden is what is shown in place of a secret.
const Hidden = "(hidden)"

// NewSecret makes a secret of a text that was read elsewhere.
func NewSecret(value string) Secret { return Secret{value: value} }

// Reveal returns the text itself, for whoever has to send it.
func (s Secret) Reveal() string { return s.value }

// Given reports whether there is a text.
func (s Secret) Given() bool { return s.value != "" }

// Format implements fmt.Formatter: no verb shows the text.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(Hidden)) }

// MarshalJSON implements json.Marshaler.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(Hidden) }

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(Hidden), nil }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(Hidden) }

// Secret declares a text that must come from a variable of the environment, as in
// password: ${KAFKA_PASSWORD}. Written into the file it is an error, which does
// not repeat it.
func (f *Fields) Secret(p *Secret, name, doc string) *Field {
	return f.add(name, "", doc, &secret{p})
}

type secret struct{ p *Secret }

func (s *secret) reset()             { *s.p = Secret{} }
func (s *secret) text() string       { return "" }
func (s *secret) noun(*Field) string { return "a variable of the environment, as in ${VAR}" }
func (s *secret) decode(d *decoder, f *Field, n *Node) {
	want := fmt.Sprintf("expected a variable of the environment, as in %s: ${KAFKA_%s}", f.name, strings.ToUpper(f.name))
	switch {
	case n.Kind == Null:
	case n.Kind != Scalar:
		d.errs.Add(n.Pos, f.name+" is no text", want)
	case n.Variable == "":
		d.errs.Add(n.Pos, f.name+" is written into the file, where it does not stay secret", want+" and nothing else, or a file of its own: "+f.name+"_file")
	case n.Value == "":
		d.errs.Add(n.Pos, fmt.Sprintf("%s is empty: the variable %s holds nothing", f.name, n.Variable), "expected a value in the environment")
	default:
		*s.p = Secret{n.Value, n.Variable, n.Pos}
	}
}
func (s *secret) schema(*schemaBuilder, *Field) []*Object {
	return []*Object{patterned(`^\$\{[A-Za-z_][A-Za-z0-9_]*\}$`)}
}

var secretName = regexp.MustCompile(`(?i)pass|pwd|_pw$|^pw$|secret|token|credential|private|api_?key`)

// SecretName reports whether a variable of this name is taken to hold a secret
// wherever it is used.
func SecretName(variable string) bool { return secretName.MatchString(variable) }

// Redact replaces the values of variables, by name, in what the errors say.
func (e Errors) Redact(values map[string]string) {
	type swap struct {
		re *regexp.Regexp
		to string
	}
	var swaps []swap
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	// A value that is part of another must not break it up.
	slices.SortFunc(names, func(a, b string) int {
		if len(values[a]) != len(values[b]) {
			return len(values[b]) - len(values[a])
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		value := values[name]
		if value == "" {
			continue
		}
		quoted := fmt.Sprintf("%q", value)
		for _, text := range []string{value, quoted[1 : len(quoted)-1]} {
			pattern := regexp.QuoteMeta(text)
			if len(text) < 4 { // a word of its own, or every "a" would go
				pattern = `\b` + pattern + `\b`
			}
			if re, err := regexp.Compile(pattern); err == nil {
				swaps = append(swaps, swap{re, "${" + name + "}"})
			}
		}
	}
	for i := range e {
		for _, s := range swaps {
			e[i].Msg = s.re.ReplaceAllLiteralString(e[i].Msg, s.to)
			e[i].Want = s.re.ReplaceAllLiteralString(e[i].Want, s.to)
		}
	}
}
