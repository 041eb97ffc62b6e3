package pipeline

import (
	"strings"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// Schema returns the JSON Schema (draft 2020-12) of a pipeline file that may use
// the operators of a registry, for editors: they complete names and mark what the
// shape of a file can show to be wrong. Names and columns are for [Load].
func Schema(reg *operators.Registry) *spec.Object {
	root := spec.JSONSchema(&fileConfig{})
	entry := new(spec.Object)
	defs := new(spec.Object)
	var oneOf []*spec.Object
	for _, name := range reg.Names() {
		defs.Set(name, operatorSchema(reg.Lookup(name)))
		oneOf = append(oneOf, new(spec.Object).Set("$ref", "#/$defs/"+name))
	}
	if len(oneOf) > 0 {
		entry.Set("oneOf", oneOf)
	}
	mapping(property(root, "operators")).Set("additionalProperties", entry)
	mapping(property(root, "tasks")).Set("minimum", 1)
	sources := mapping(property(root, "sources")).Set("minProperties", 1)
	sinks := mapping(property(root, "sinks"))
	for _, columns := range []*spec.Object{
		mapping(property(sources.Get("additionalProperties").(*spec.Object), "schema")).
			Set("additionalProperties", new(spec.Object).Set("type", "string").
				Set("pattern", `^(`+strings.Join(batch.Types(), "|")+`)\??$|\$\{[^}]+\}`)),
		mapping(property(sinks.Get("additionalProperties").(*spec.Object), "columns")),
	} {
		columns.Set("minProperties", 1).Set("propertyNames", new(spec.Object).Set("minLength", 1))
	}

	out := new(spec.Object).
		Set("$schema", "https://json-schema.org/draft/2020-12/schema").
		Set("title", "gradstream pipeline").
		Set("description", "A pipeline file: sources that are read, operators that compute and learn, sinks that are published.")
	for _, member := range []string{"type", "properties", "required", "additionalProperties"} {
		out.Set(member, root.Get(member))
	}
	return out.Set("$defs", defs)
}

// operatorSchema is the schema of an entry of operators that has this type.
func operatorSchema(d *operators.Definition) *spec.Object {
	from := property(spec.JSONSchema(&operatorConfig{}), "from")
	if d.Inputs > 1 {
		from = new(spec.Object).Set("description", from.Get("description")).Set("type", "array").
			Set("items", new(spec.Object).Set("type", "string")).Set("minItems", d.Inputs).Set("maxItems", d.Inputs).Set("uniqueItems", true)
	} else if alternatives, ok := from.Get("anyOf").([]*spec.Object); ok {
		for _, a := range alternatives {
			if a.Get("type") == "array" {
				a.Set("minItems", 1).Set("maxItems", 1)
			}
		}
	}
	config := spec.JSONSchema(d.New())
	config.Set("description", d.Summary)
	return new(spec.Object).
		Set("type", "object").
		Set("description", d.Summary).
		Set("properties", new(spec.Object).Set("from", from).Set(d.Name, config)).
		Set("required", []string{"from", d.Name}).
		Set("additionalProperties", false)
}

// property returns the schema of a field in the schema of a configuration.
func property(config *spec.Object, field string) *spec.Object {
	return config.Get("properties").(*spec.Object).Get(field).(*spec.Object)
}

// mapping returns the first alternative of the schema of a field: of a mapping,
// what is about mappings.
func mapping(field *spec.Object) *spec.Object {
	if alternatives, ok := field.Get("anyOf").([]*spec.Object); ok {
		return alternatives[0]
	}
	return field
}
