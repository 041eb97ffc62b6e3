// Package wait lets tests wait for goroutines without hanging: one that does not come to its end is shown with the stacks of all.
package wait

import (
	"runtime"
	"testing"
	"time"
)

// most is how long anything may take, however slow the machine is.
const most = 3 * time.Minute

// For returns what is sent. If nothing is for three minutes, it ends the test and shows what all goroutines do.
func For[T any](t testing.TB, what string, sent <-chan T) (v T) {
	t.Helper()
	late := time.NewTimer(most)
	defer late.Stop()
	select {
	case v = <-sent:
	case <-late.C:
		stacks := make([]byte, 1<<20)
		t.Fatalf("%s does not end in %v; all goroutines:\n%s", what, most, stacks[:runtime.Stack(stacks, true)])
	}
	return v
}
