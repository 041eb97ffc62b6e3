// Package drift carries the pipeline of the generated stream whose concept
// changes halfway.
package drift

import _ "embed"

// Pipeline is the pipeline file.
//
//go:embed pipeline.yaml
var Pipeline []byte
