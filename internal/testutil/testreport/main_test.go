package main

import (
	"slices"
	"strings"
	"testing"
)

// The reason of a failure is to be found below the log of a broker.
func TestSummary(t *testing.T) {
	output := []string{"=== RUN   TestX\n", "    x_test.go:12: first\n", "        more of it\n"}
	for range 1000 {
		output = append(output, "        INFO the broker says something\n")
	}
	output = append(output, "    y_test.go:7: second"+strings.Repeat(" long", 200)+"\n", "--- FAIL: TestX (0.1s)\n")
	got := summary(output)
	if len(got) != 2+summaryBelow || got[0] != "    x_test.go:12: first" {
		t.Fatalf("%d lines: %q", len(got), got)
	}
	last := got[len(got)-1]
	if !strings.HasPrefix(last, "    y_test.go:7: second") || len(last) > summaryWidth+4 {
		t.Fatalf("last line: %q", last)
	}
	if slices.Contains(got, "--- FAIL: TestX (0.1s)") {
		t.Fatal("the verdict is repeated")
	}
}
