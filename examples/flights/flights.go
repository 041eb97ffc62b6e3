// Package flights carries the flights example: the departures from New York in
// 2013 and the pipeline that predicts which of them arrive late.
package flights

import _ "embed"

// Pipeline is the pipeline file.
//
//go:embed pipeline.yaml
var Pipeline []byte

// Data is the stream in the order of the scheduled departures, csv with a header,
// gzipped. README.md says where it comes from.
//
//go:embed flights.csv.gz
var Data []byte

// Rows is how many events Data holds.
const Rows = 327_346
