// Package lint holds the rules of this repository as tests: which package may
// import which, what operators may not do, and what every package must have. The
// message of a failure says what to do instead.
package lint
