// Command testreport reads the output of `go test -json` and prints what a person
// wants to see: a line for each package, the output of what failed, every skipped
// test with its reason, and the totals. It exits 1 if anything failed.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"sort"
	"strings"
)

// event is one line of `go test -json`.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64
}

type report struct {
	output   map[string][]string // by package and test
	skipped  []string
	passed   int
	failed   int
	failures []string // the tests' own words, without what programs they ran said
}

func main() {
	r := &report{output: map[string][]string{}}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 1<<20), 64<<20)
	for in.Scan() {
		var e event
		if json.Unmarshal(in.Bytes(), &e) != nil {
			fmt.Println(in.Text()) // not JSON: the toolchain's own complaint
			continue
		}
		r.take(e)
	}
	if len(r.skipped) > 0 {
		sort.Strings(r.skipped)
		fmt.Println("\nskipped:")
		for _, s := range r.skipped {
			fmt.Println("  " + s)
		}
	}
	if len(r.failures) > 0 {
		fmt.Println("\nfailed:")
		for _, s := range r.failures {
			fmt.Println("  " + s)
		}
	}
	fmt.Printf("\n%d passed, %d failed, %d skipped\n", r.passed, r.failed, len(r.skipped))
	if r.failed > 0 || in.Err() != nil || r.passed == 0 {
		os.Exit(1)
	}
}

func (r *report) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Print(e.Output)
	case "build-fail":
		r.failed++
	case "output":
		r.output[key] = append(r.output[key], e.Output)
	case "pass":
		if e.Test == "" {
			fmt.Printf("ok    %-62s %6.1fs\n", e.Package, e.Elapsed)
		} else {
			r.passed++
		}
		delete(r.output, key)
	case "skip":
		if e.Test != "" {
			r.skipped = append(r.skipped, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reason(r.output[key])))
		}
		delete(r.output, key)
	case "fail":
		if e.Test == "" {
			fmt.Printf("FAIL  %-62s %6.1fs\n", e.Package, e.Elapsed)
			if len(r.output[key]) == 0 {
				break
			}
		} else {
			r.failed++
			r.failures = append(r.failures, e.Package+" "+e.Test)
			for _, line := range summary(r.output[key]) {
				r.failures = append(r.failures, "    "+line)
			}
		}
		for _, line := range r.output[key] {
			fmt.Print("      " + line)
		}
		if e.Test == "" && r.failed == 0 {
			r.failed++ // the package failed outside of any test
		}
		delete(r.output, key)
	}
}

// The log of a broker or worker can be megabytes long. The summary at the end of
// the report has the lines that begin a message of the test and a few below each.
const (
	summaryBelow = 8
	summaryLines = 60
	summaryWidth = 400
)

// position is where a test says something: "    file_test.go:12: text".
var position = regexp.MustCompile(`^\s*\w+\.go:\d+: |^panic: |^\s*testing\.go`)

// summary picks a failed test's own messages from its output.
func summary(output []string) []string {
	var lines []string
	below := summaryBelow
	for _, line := range output {
		line = strings.TrimRight(line, "\n")
		if position.MatchString(line) {
			below = 0
		} else if strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		if below > summaryBelow || len(lines) == summaryLines {
			continue
		}
		below++
		if len(line) > summaryWidth {
			line = line[:summaryWidth] + "…"
		}
		lines = append(lines, line)
	}
	return lines
}

// reason finds what a test said when it skipped itself.
func reason(output []string) string {
	text := "no reason given"
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- SKIP") {
			continue
		}
		if _, after, found := strings.Cut(line, ".go:"); found {
			if _, said, found := strings.Cut(after, ": "); found {
				line = said
			}
		}
		text = line
	}
	return text
}
