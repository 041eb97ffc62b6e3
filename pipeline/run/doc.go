// Package run is the engine: it feeds a pipeline's graph with records, cuts the
// input into steps, commits each step as one transaction, checkpoints state, and
// rebuilds it after a crash. It owns every goroutine.
//
// The parts, from the inside out: core.go is the deterministic heart of a task;
// sink.go and outputs.go gather what it publishes; journal.go is the record of a
// step; task.go takes a task from fencing to live; worker.go holds the tasks of
// one process; evaluate.go drives a core over files.
package run
