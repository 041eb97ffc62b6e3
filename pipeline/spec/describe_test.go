package spec

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compile(t *testing.T, c Config) *jsonschema.Schema {
	t.Helper()
	text, err := json.Marshal(JSONSchema(c).Set("$schema", "https://json-schema.org/draft/2020-12/schema"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("s.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := compiler.Compile("s.json") // checks it against the meta-schema as well
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return s
}

func instance(t *testing.T, n *Node) any {
	t.Helper()
	text, err := json.Marshal(n.json())
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// decoderOnly are the errors that a schema cannot express.
var decoderOnly = []string{
	"max is less than min", "written twice", "as in [[a, b]]", // lists of one are the decoder's business
	"every is \"2h\"", "every is \"1d12h\"", "size is \"1B\"", "size is \"1kB\"", "metrics names \"accuracy\" twice",
}

// TestSchemaAgrees checks the schema against the decoder: what one takes the
// other takes, what one refuses the other refuses.
func TestSchemaAgrees(t *testing.T) {
	schema := compile(t, new(sample))
	good := []string{
		full, "label: y", "{label: y, bits: , optimizer: null, window: {}, metrics: ~}", "{label: 5, note: true}",
		"{label: y, metrics: accuracy}", "{label: y, metrics: {roc_auc: }}", "{label: y, intercept: false, numeric: x}",
		"{label: y, optimizer: none, every: 1m30s, size: 2048}", "{label: y, optimizer: {none: {}}, size: 2 GiB}",
		"{label: y, rate: 1e-6, extra: [1, {a: b}]}", "{label: y, window: , sources: {}}",
	}
	for _, text := range good {
		n, errs := Parse("", []byte(text))
		if errs = append(errs, Decode(n, new(sample))...); errs != nil {
			t.Fatalf("%s: %v", text, errs)
		}
		if err := schema.Validate(instance(t, n)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	refused := 0
	for _, c := range badFragments {
		n, errs := Parse("", []byte(c.yaml))
		if errs != nil {
			continue // not YAML
		}
		expressible := true
		for _, s := range decoderOnly {
			expressible = expressible && !strings.Contains(c.want, s)
		}
		err := schema.Validate(instance(t, n))
		if expressible && err == nil {
			t.Errorf("%s: the schema takes it, the decoder says %s", c.yaml, c.want)
		}
		if err != nil {
			refused++
		}
	}
	if refused < 30 {
		t.Errorf("the schema refused only %d of the bad fragments", refused)
	}
}

// TestSchemaVariables checks that a variable may stand for any scalar.
func TestSchemaVariables(t *testing.T) {
	schema := compile(t, new(sample))
	for _, field := range []string{
		"deep", "bits", "seed", "rate", "note", "every", "size", "loss", "label", "numeric", "classes", "from", "intercept", "optimizer", "metrics",
	} {
		v := map[string]any{"label": "y"}
		v[field] = "${VAR:1}"
		if err := schema.Validate(v); err != nil {
			t.Errorf("%s: %v", field, err)
		}
	}
}

type small struct {
	Rate float64
	Opt  Choice
}

func (s *small) Fields(f *Fields) {
	f.Float(&s.Rate, "rate", 0.05, "Step size.").Above(0).Example("1e-3")
	f.Choice(&s.Opt, "opt", "none", optimizers[:2], "Optimiser.").Pin()
}

func TestSchemaText(t *testing.T) {
	got, err := json.MarshalIndent(JSONSchema(new(small)), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want := `{
 "type": [
  "object",
  "null"
 ],
 "properties": {
  "rate": {
   "anyOf": [
    {
     "type": "number",
     "exclusiveMinimum": 0
    },
    {
     "type": "string",
     "pattern": "\\$\\{[^}]+\\}"
    },
    {
     "type": "null"
    }
   ],
   "description": "Step size.",
   "default": 0.05,
   "examples": [
    0.001
   ]
  },
  "opt": {
   "oneOf": [
    {
     "const": "sgd",
     "description": "Plain gradient steps."
    },
    {
     "type": "object",
     "properties": {
      "sgd": {
       "type": [
        "object",
        "null"
       ],
       "properties": {
        "rate": {
         "anyOf": [
          {
           "type": "number",
           "exclusiveMinimum": 0,
           "maximum": 1
          },
          {
           "type": "string",
           "pattern": "\\$\\{[^}]+\\}"
          },
          {
           "type": "null"
          }
         ],
         "description": "Step size.",
         "default": 0.05
        }
       },
       "additionalProperties": false
      }
     },
     "required": [
      "sgd"
     ],
     "additionalProperties": false,
     "description": "Plain gradient steps."
    },
    {
     "const": "none",
     "description": "No steps."
    },
    {
     "type": "object",
     "properties": {
      "none": {
       "type": [
        "object",
        "null"
       ],
       "additionalProperties": false
      }
     },
     "required": [
      "none"
     ],
     "additionalProperties": false,
     "description": "No steps."
    },
    {
     "type": "string",
     "pattern": "\\$\\{[^}]+\\}"
    },
    {
     "type": "null"
    }
   ],
   "description": "Optimiser.",
   "default": "none"
  }
 },
 "additionalProperties": false
}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestDocs(t *testing.T) {
	var text, markdown strings.Builder
	if err := WriteText(&text, new(small)); err != nil {
		t.Fatal(err)
	}
	if err := WriteMarkdown(&markdown, new(small)); err != nil {
		t.Fatal(err)
	}
	wantText := `rate  a finite number above 0, default 0.05
      Step size.
      Example: rate: 1e-3
opt   one of sgd, none, default none, pinned: a change does not read old state
      Optimiser.
      sgd   Plain gradient steps.
            rate  a finite number above 0 and at most 1, default 0.05
                  Step size.
      none  No steps.
`
	wantMarkdown := "- `rate`: a finite number above 0, default 0.05. Step size. Example: `rate: 1e-3`.\n" +
		"- `opt`: one of sgd, none, default none, pinned: a change does not read old state. Optimiser.\n" +
		"  - `sgd`: Plain gradient steps.\n" +
		"    - `rate`: a finite number above 0 and at most 1, default 0.05. Step size.\n" +
		"  - `none`: No steps.\n"
	if diff := cmp.Diff(wantText, text.String()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(wantMarkdown, markdown.String()); diff != "" {
		t.Error(diff)
	}
	want := []FieldDoc{
		{Name: "rate", Type: "a finite number above 0", Default: "0.05", Bounds: "above 0", Doc: "Step size.", Example: "1e-3"},
		{Name: "opt", Type: "one of sgd, none", Default: "none", Doc: "Optimiser.", Pinned: true, Options: []OptionDoc{
			{"sgd", "Plain gradient steps.", []FieldDoc{
				{Name: "rate", Type: "a finite number above 0 and at most 1", Default: "0.05", Bounds: "above 0 and at most 1", Doc: "Step size."}}},
			{"none", "No steps.", nil},
		}},
	}
	if diff := cmp.Diff(want, Describe(new(small))); diff != "" {
		t.Error(diff)
	}
}

// tree contains itself.
type tree struct{ Left Choice }

func (r *tree) Fields(f *Fields) {
	f.Choice(&r.Left, "left", "", []Option{{"tree", "Another.", func() Config { return new(tree) }}, {"leaf", "An end.", nil}}, "Left.")
}

func TestRecursiveConfig(t *testing.T) {
	n, _ := Parse("f", []byte("left: {tree: {left: {tree: {left: laef}}}}"))
	if got, want := Decode(n, new(tree)).Error(), `f:1:35: left is "laef"; did you mean "leaf"?`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := len(Describe(new(tree))[0].Options); got != 2 {
		t.Errorf("%d options", got)
	}
	compile(t, new(tree))
}
