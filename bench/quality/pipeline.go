package main

import (
	"slices"
	"strconv"
	"strings"
	"text/template"
)

// learner is a way of gradstream's to learn: the operator for each kind of label, none if it is not for that.
type learner struct {
	name string
	// The operator's type and options, in which CLASSES, NUMERIC and CATEGORICAL stand for fields with the names of those.
	binary, classes, number string
	columns                 bool // it reads the columns, not the vector of features
}

// ours are the learners that are measured. The first is the recommended default, and the one that is judged.
var ours = []learner{
	{name: "gradstream", binary: "logistic_regression: {label: y}", classes: "softmax: {label: y, CLASSES}", number: "linear_regression: {label: y}"},
	{name: "coin", binary: "logistic_regression: {label: y, optimizer: coin}", classes: "softmax: {label: y, CLASSES, optimizer: coin}", number: "linear_regression: {label: y, optimizer: coin}"},
	{name: "normalized", binary: "logistic_regression: {label: y, optimizer: normalized}", classes: "softmax: {label: y, CLASSES, optimizer: normalized}", number: "linear_regression: {label: y, optimizer: normalized}"},
	{name: "bayes", binary: "gaussian_naive_bayes: {label: y, NUMERIC}", classes: "gaussian_naive_bayes: {label: y, CLASSES, NUMERIC}", number: "bayesian_linear_regression: {label: y, NUMERIC}", columns: true},
	{name: "tree", binary: "hoeffding_tree: {label: y, NUMERIC, CATEGORICAL}", classes: "hoeffding_tree: {label: y, CLASSES, NUMERIC, CATEGORICAL}", columns: true},
}

// operator returns the operator for a stream, "" if there is none.
func (l learner) operator(t *table) string {
	text := map[string]string{binary: l.binary, classes: l.classes, number: l.number}[t.task]
	if l.columns && len(t.numeric()) == 0 {
		return ""
	}
	return strings.NewReplacer("CLASSES", "classes: "+list(t.classes), "NUMERIC", "numeric: "+list(t.numeric()),
		"CATEGORICAL", "categorical: "+list(t.categorical)).Replace(text)
}

// list writes names as YAML does.
func list(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = strconv.Quote(name)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

var form = template.Must(template.New("pipeline").Funcs(template.FuncMap{"list": list, "quote": strconv.Quote}).Parse(`# Written by bench/quality.
pipeline: {{.Name}}
sources:
  stream:
    topic: stream
    format: csv
    schema:
{{- range .Schema}}
      {{quote .Name}}: {{.Type}}
{{- end}}
operators:
  features:
    from: stream
    vectorize:
{{- with .Numeric}}
      numeric: {{list .}}
{{- end}}
{{- with .Categorical}}
      categorical: {{list .}}
{{- end}}
{{- with .Text}}
      text: [{{quote .}}]
{{- end}}
{{- with .Sparse}}
      sparse: [{{quote .}}]
{{- end}}
  model:
    from: {{if .Columns}}stream{{else}}features{{end}}
    {{.Operator}}
  quality:
    from: model
    evaluate: {prediction: model, label: y, metrics: {{list .Metrics}}}
  drift:
    from: model
    adwin: {column: model.loss, direction: up, after: reset}
sinks:
  predictions:
    from: model
    topic: predictions
    columns:
{{- range .Outputs}}
      {{quote .Name}}: {{quote .Type}}
{{- end}}
`))

// column is a name and what belongs to it.
type column struct{ Name, Type string }

// metrics are what is measured of each kind of label.
var metrics = map[string][]string{
	binary:  {"accuracy", "log_loss", "roc_auc"},
	classes: {"accuracy", "log_loss", "kappa"},
	number:  {"mae", "rmse"},
}

// pipelineFor writes the pipeline file of a learner for a stream. It is the same for all streams but for the names and types
// of the columns.
func pipelineFor(t *table, l learner) (string, error) {
	var schema, outputs []column
	for i, name := range t.names {
		kind := "float64"
		switch {
		case name == "y":
			kind = map[string]string{binary: "bool", classes: "string", number: "float64"}[t.task]
		case name == t.sparse:
			kind = "sparse"
		case name == t.text, slices.Contains(t.categorical, name):
			kind = "string"
		case t.missing[i]:
			kind = "float64?"
		}
		schema = append(schema, column{name, kind})
	}
	switch t.task {
	case binary:
		outputs = []column{{"p", "model.probability"}}
	case number:
		outputs = []column{{"p", "model.prediction"}}
	default:
		for _, c := range t.classes {
			outputs = append(outputs, column{c, "model.probability." + c})
		}
	}
	var text strings.Builder
	err := form.Execute(&text, map[string]any{
		"Name": t.name, "Schema": schema, "Numeric": t.numeric(), "Categorical": t.categorical, "Text": t.text, "Sparse": t.sparse,
		"Columns": l.columns, "Operator": l.operator(t), "Metrics": metrics[t.task], "Outputs": outputs,
	})
	return text.String(), err
}
