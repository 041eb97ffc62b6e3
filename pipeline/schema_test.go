package pipeline

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/spec"
)

func compileSchema(t *testing.T, reg *operators.Registry) *jsonschema.Schema {
	t.Helper()
	text, err := json.Marshal(Schema(reg))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance is a YAML value as an editor sees it, before variables are replaced.
func instance(n *spec.Node) any {
	switch n.Kind {
	case spec.Null:
		return nil
	case spec.List:
		list := make([]any, len(n.Items))
		for i, item := range n.Items {
			list[i] = instance(item)
		}
		return list
	case spec.Map:
		m := map[string]any{}
		for _, k := range n.Keys {
			m[k.Name] = instance(k.Value)
		}
		return m
	}
	if n.Quoted {
		return n.Value
	}
	if n.Value == "true" || n.Value == "false" {
		return n.Value == "true"
	}
	if _, err := strconv.ParseFloat(n.Value, 64); err == nil {
		return json.Number(n.Value)
	}
	return n.Value
}

// beyond are the files, or, with a _ at the end, the kinds of files, whose errors
// the shape of a file does not show.
var beyond = []string{
	"column_", "key_", "time_", "partitions", "partitions_deep", "repartition_", "topic_", "sink_columns_everywhere", "sink_csv_mixed", "sink_only_sparse", "sink_sparse",
	"graph_cycle", "graph_cycle_self", "graph_from_sink", "graph_two_cycles", "graph_unknown_from", "var_unset", "var_type",
	"name_pipeline_dots", "name_twice", "operator_check", "brokers", "brokers_none", "tasks_many", "schema_nested",
	"yaml_duplicate_key", "yaml_duplicate_node",
	"security_both", "security_cert_alone", "security_empty", "security_files", "security_key_alone", "security_none", "security_token_auth",
}

func TestSchema(t *testing.T) {
	s := compileSchema(t, testRegistry)
	for _, file := range append(files(t, "testdata/good/*.yaml", 3), files(t, "testdata/bad/*.yaml", 40)...) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := spec.Parse(file, data)
		if n == nil {
			continue // no YAML, no instance
		}
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		accept := strings.Contains(file, "good") || slices.ContainsFunc(beyond, func(b string) bool {
			return name == b || strings.HasSuffix(b, "_") && strings.HasPrefix(name, b)
		})
		if err := s.Validate(instance(n)); accept && err != nil {
			t.Errorf("%s is refused: %v", file, err)
		} else if !accept && err == nil {
			t.Errorf("%s is accepted", file)
		}
	}
}

// TestSchemaEmpty: without operators the schema still is one.
func TestSchemaEmpty(t *testing.T) {
	s := compileSchema(t, operators.Merge())
	if err := s.Validate(map[string]any{"pipeline": "p", "sources": map[string]any{"in": map[string]any{"topic": "t", "schema": map[string]any{"x": "int64?"}}}}); err != nil {
		t.Error(err)
	}
}
